//! Who may open what: a block is tried against every client's key.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use knock_common::protocol::{
    block::{Block, Plaintext},
    classic::Sequence,
    key::{ClassicKey, SealedKey},
    sealed::{DoorTag, Request},
};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use knockd_types::policy::{Key, Policy};
use knockd_types::reason::Reason;

/// An age beyond which a knock is not its client's clock but an old knock sent again, or
/// noise.
const PLAUSIBLE_CLOCK_ERROR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What an accepted knock asks for, as indices into the [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who knocked.
    pub client: usize,
    /// The door that is opened to him.
    pub door: usize,
    /// For how long.
    pub lease: Duration,
    /// Of a sealed knock, which holds once: when it was made, in Unix milliseconds. A
    /// classic knock holds again and again.
    pub made_at: Option<u64>,
    /// Whether it holds from one source address alone, the one that it came from.
    pub is_bound: bool,
}

/// When and from where a block came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The packets' source address.
    pub source: IpAddr,
    /// Unix milliseconds.
    pub now: u64,
    /// How far a knock's time may be from that.
    pub max_skew: Duration,
}

/// Why a block is no knock, in the order in which it is checked. Never told to the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Refusal {
    /// No key deciphers it: a wrong key, or noise. Behind the parity that holds by chance
    /// for one key in 256 comes a sealed knock's version, which then says nothing either.
    #[error("no client's key fits these 16 SYNs")]
    BadParity,
    /// The parity holds, as it does for one noise in 256, but no door has the sequence.
    #[error("no door has this sequence")]
    UnknownSequence,
    /// The key fits, but no door has a name with this tag.
    #[error("there is no door of the name that was knocked for")]
    UnknownTag,
    /// A client knocked at a door that is not his.
    #[error("this client may not open this door")]
    ClientNotAllowed,
    /// It was made too long ago, or in the future.
    #[error("{}", stale(*age_ms))]
    Stale {
        /// Milliseconds since it was made, negative if it was made in the future.
        age_ms: i64,
    },
    /// It holds for another source address.
    #[error("bound to another address than the one it came from")]
    BoundElsewhere,
    /// It holds for any source address, and the door wants one.
    #[error("not bound to an address, which this door requires")]
    NotBound,
}

/// A refusal, and whose knock was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// The client whose key fits, by its index; `None` where that is not sure.
    pub client: Option<usize>,
}

fn stale(age_ms: i64) -> String {
    let age = Duration::from_millis(age_ms.unsigned_abs());
    let seconds = age.as_secs_f64();
    let direction = if age_ms < 0 {
        format!("stale: made {seconds:.1} s in the future")
    } else {
        format!("stale by {seconds:.1} s")
    };
    if age <= PLAUSIBLE_CLOCK_ERROR {
        format!("{direction}: check the client's clock")
    } else {
        format!("{direction}: an old knock sent again, or noise")
    }
}

/// The keys and the doors that they fit.
#[derive(Debug)]
pub struct Authenticator {
    keys: Vec<Key>,
    doors: Vec<Rule>,
    tags: HashMap<DoorTag, usize>,
}

#[derive(Debug)]
struct Rule {
    sequence: Option<Sequence>,
    clients: Vec<usize>,
    lease: Duration,
    max_lease: Duration,
    require_binding: bool,
}

impl Authenticator {
    /// An authenticator by these `terms`; a [`Verified`] has their indices.
    #[must_use]
    pub fn new(terms: &Policy) -> Self {
        let Policy { clients, doors } = terms;
        let tags = doors.iter().enumerate();
        Self {
            keys: clients.iter().map(|client| client.secret.key()).collect(),
            tags: tags
                .map(|(index, door)| (DoorTag::of(&door.name), index))
                .collect(),
            doors: doors
                .iter()
                .map(|door| Rule {
                    sequence: door.sequence.clone(),
                    clients: door.clients.clone(),
                    lease: door.lease,
                    max_lease: door.max_lease,
                    require_binding: door.require_binding,
                })
                .collect(),
        }
    }

    /// Tries `block` against every key: one block operation each, and an end to each at the
    /// first check that fails. Whether a sealed knock was accepted before is not known here.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] of the client with whose key the checks came furthest.
    pub fn verify(&self, block: &Block, arrival: &Arrival) -> Result<Verified, Refused> {
        let mut furthest = Refused {
            why: Refusal::BadParity,
            client: None,
        };
        for (client, key) in self.keys.iter().enumerate() {
            let attempt = match key {
                Key::Sealed(key) => self.sealed(client, key, block, arrival),
                Key::Classic(key) => self.classic(client, key, block),
            };
            match attempt {
                Ok(grant) => return Ok(grant),
                Err(why) if why > furthest.why => {
                    // A parity that holds is no proof of a key yet.
                    let client = (why > Refusal::UnknownSequence).then_some(client);
                    furthest = Refused { why, client };
                }
                Err(_) => {}
            }
        }
        Err(furthest)
    }

    fn sealed(
        &self,
        client: usize,
        key: &SealedKey,
        block: &Block,
        arrival: &Arrival,
    ) -> Result<Verified, Refusal> {
        let request = Request::open(key, block).map_err(|_| Refusal::BadParity)?;
        let door = *self.tags.get(&request.door).ok_or(Refusal::UnknownTag)?;
        let rule = &self.doors[door];
        if !rule.clients.contains(&client) {
            return Err(Refusal::ClientNotAllowed);
        }
        request
            .check_time(arrival.now, arrival.max_skew)
            .map_err(|stale| Refusal::Stale {
                age_ms: stale.age_ms,
            })?;
        if !request.binding.allows(arrival.source) {
            return Err(Refusal::BoundElsewhere);
        }
        if rule.require_binding && !request.binding.is_bound() {
            return Err(Refusal::NotBound);
        }
        Ok(Verified {
            client,
            door,
            lease: request.lease.granted(rule.lease, rule.max_lease),
            made_at: Some(request.time.nearest_unix_ms(arrival.now)),
            is_bound: request.binding.is_bound(),
        })
    }

    fn classic(&self, client: usize, key: &ClassicKey, block: &Block) -> Result<Verified, Refusal> {
        let plaintext = key.decipher(block).map_err(|_| Refusal::BadParity)?;
        let door = self
            .doors
            .iter()
            .position(|rule| rule.has_sequence(&plaintext))
            .ok_or(Refusal::UnknownSequence)?;
        let rule = &self.doors[door];
        if !rule.clients.contains(&client) {
            return Err(Refusal::ClientNotAllowed);
        }
        Ok(Verified {
            client,
            door,
            lease: rule.lease,
            made_at: None,
            is_bound: false,
        })
    }
}

impl Rule {
    fn has_sequence(&self, plaintext: &Plaintext) -> bool {
        self.sequence
            .as_ref()
            .is_some_and(|sequence| sequence.plaintext().ct_eq(plaintext).into())
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BadParity => Self::BadParity,
            Refusal::UnknownSequence => Self::UnknownSequence,
            Refusal::UnknownTag => Self::UnknownDoor,
            Refusal::ClientNotAllowed => Self::NotAllowed,
            Refusal::Stale { .. } => Self::Stale,
            Refusal::BoundElsewhere => Self::Elsewhere,
            Refusal::NotBound => Self::Unbound,
        }
    }
}

#[cfg(test)]
mod tests;
