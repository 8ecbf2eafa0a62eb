//! Verification: each block is tried with every client's key.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use knock_common::protocol::{
    block::{Block, Plaintext},
    classic::Sequence,
    key::{ClassicKey, SealedKey},
    sealed::{DoorTag, Request},
};
use knockd_types::{
    policy::{Key, Policy},
    reason::Reason,
};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// The largest age that a client's wrong clock can explain. An older knock is a replay or
/// background noise.
const PLAUSIBLE_CLOCK_ERROR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A verified knock. Clients and doors are indices into the [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The client.
    pub client: usize,
    /// The door that it may open.
    pub door: usize,
    /// How long the door stays open.
    pub lease: Duration,
    /// The timestamp of a sealed knock, which is single-use, in Unix milliseconds. A classic knock
    /// has none and can be replayed.
    pub made_at: Option<u64>,
    /// Whether it is valid from its source address only.
    pub is_bound: bool,
}

/// The circumstances of a block's arrival.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The packets' source address.
    pub source: IpAddr,
    /// The time of arrival in Unix milliseconds.
    pub now: u64,
    /// The largest accepted difference between a knock's timestamp and `now`.
    pub max_skew: Duration,
}

/// The reasons for the refusal of a block, in the order of the checks. They are never sent to the
/// source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Refusal {
    /// No key fits: a wrong key, or background noise. This includes a wrong version of a sealed
    /// knock: the parity before it holds by chance for one key in 256.
    #[error("no client's key fits these 16 SYNs")]
    BadParity,
    /// The parity holds, as it does by chance for one block in 256, but no door has the sequence.
    #[error("no door has this sequence")]
    UnknownSequence,
    /// The key fits, but no door's name has this tag.
    #[error("there is no door with the name in this knock")]
    UnknownTag,
    /// The client is not in the door's list.
    #[error("this client may not open this door")]
    ClientNotAllowed,
    /// The timestamp is out of `max_skew`.
    #[error("{}", stale(*age_ms))]
    Stale {
        /// Milliseconds since the timestamp; negative if it is in the future.
        age_ms: i64,
    },
    /// The knock is bound to another source address.
    #[error("bound to another address than the one it came from")]
    BoundElsewhere,
    /// The knock is not bound, and the door has `require_binding`.
    #[error("not bound to an address, which this door requires")]
    NotBound,
}

/// A refused block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub why: Refusal,
    /// The index of the client whose key fits; `None` if that is uncertain.
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

/// The clients' keys and the rules of the doors.
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
    /// An authenticator for `policy`, whose indices a [`Verified`] has.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let Policy { clients, doors } = policy;
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

    /// Tries `block` with every key: one AES operation for each, and then checks up to the first
    /// that fails. This does not detect replays.
    ///
    /// # Errors
    ///
    /// Returns the [`Refusal`] of the client whose key passed the most checks.
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
                Ok(verified) => return Ok(verified),
                Err(why) if why > furthest.why => {
                    // The parity alone does not prove that the key fits.
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
