//! Verification: each block is tried with every client's key; a datagram names its client.

mod datagram;

use std::{collections::HashMap, net::IpAddr, time::Duration};

use knock_common::protocol::{
    block::{Block, Plaintext},
    classic::Sequence,
    door::{LongTag, ShortTag},
    identity::{KeyPair, PrivateKey, PublicKey},
    lease::RequestedLease,
    stale::Stale,
    syn::{Request, SynKey},
    tile::{TILE_LEN, Tile},
};
use knockd_types::{
    conditions::Conditions,
    policy::{Client, Key, Policy, Secret},
    reason::Reason,
};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

pub use datagram::Decrypted;

/// The largest age that a client's wrong clock can explain. An older knock is a replay or
/// background noise.
const PLAUSIBLE_CLOCK_ERROR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A verified knock. Clients and doors are indices into the [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The client.
    pub client: usize,
    /// The door.
    pub door: usize,
    /// The address that the door opens or closes for.
    pub beneficiary: IpAddr,
    /// What happens to the door.
    pub wish: Wish,
    /// What identifies a knock that is single-use. A classic knock has none and can be replayed.
    pub single_use: Option<SingleUse>,
    /// Whether it is valid from its source address only, or names the address that it opens for.
    pub is_bound: bool,
    /// Until when its key is accepted, in Unix milliseconds, if it is the one that the client had
    /// before.
    pub old_key_until: Option<u64>,
}

/// What a knock asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The door opens for this long.
    Open(Duration),
    /// The door closes.
    Close,
}

/// The identity of a single-use knock in the replay store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingleUse {
    /// The block of a SYN knock, or the digest of a datagram.
    pub id: [u8; 16],
    /// The knock's timestamp, in Unix milliseconds.
    pub made_at: u64,
}

/// The circumstances of a knock's arrival.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The packets' source address.
    pub source: IpAddr,
    /// The time of arrival in Unix milliseconds.
    pub now: u64,
    /// The largest accepted difference between a knock's timestamp and `now`.
    pub max_skew: Duration,
}

/// A block, and the circumstances of its arrival.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The block.
    pub block: Block,
    /// The circumstances of its arrival.
    pub arrival: Arrival,
}

/// The reasons for the refusal of a knock, in the order of the checks. They are never sent to the
/// source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Refusal {
    /// No key fits: a wrong key, or background noise. This includes a wrong version of a SYN knock:
    /// the parity before it holds by chance for one key in 256.
    #[error("no client's key fits these 16 SYNs")]
    BadParity,
    /// The parity holds, as it does by chance for one block in 256, but no door has the sequence.
    #[error("no door has this sequence")]
    UnknownSequence,
    /// A datagram that was not made for this server, or by a client that is not configured.
    #[error("not a datagram of a known client for this server")]
    Forged,
    /// A datagram of a known client with an unknown version or a malformed request.
    #[error("the client's request is of an unknown version or malformed: update the older side")]
    Invalid,
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
    /// The client has expired.
    #[error("this client has expired")]
    Expired,
    /// The key is the one that the client had before, and its time is over.
    #[error(
        "made with the client's `previous_key`, whose time is over: give the client its new key"
    )]
    OldKey,
    /// The client may not knock from the source address.
    #[error("from an address that this client may not knock from")]
    Outside,
    /// The knock is bound to another source address.
    #[error("bound to another address than the one it came from")]
    BoundElsewhere,
    /// The knock is not bound, and the door has `require_binding`.
    #[error("not bound to an address, which this door requires")]
    NotBound,
    /// The knock names another address to open the door for, and the door lacks `allow_other`.
    #[error("for another address than its own, which this door does not allow")]
    ForOther,
}

/// A refused knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub why: Refusal,
    /// The index of the client whose key fits; `None` if that is uncertain.
    pub client: Option<usize>,
}

impl Refused {
    /// No client's key fits.
    const NO_KEY: Self = Self {
        why: Refusal::BadParity,
        client: None,
    };
}

/// Replaces `outcome` by that of `client` if it passed more checks. The first knock stays.
fn further(
    outcome: &mut Result<Verified, Refused>,
    client: usize,
    of_client: Result<Verified, Refusal>,
) {
    match (&outcome, of_client) {
        (Err(_), Ok(verified)) => *outcome = Ok(verified),
        (Err(before), Err(why)) if why > before.why => {
            // The parity alone does not prove that the key fits.
            let client = (why > Refusal::UnknownSequence).then_some(client);
            *outcome = Err(Refused { why, client });
        }
        _ => {}
    }
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

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The index of the client.
    client: usize,
    /// Until when the key is accepted, in Unix milliseconds, if it is the one that the client had
    /// before.
    until: Option<u64>,
}

/// The clients' keys and the rules of the doors.
#[derive(Debug)]
pub struct Authenticator {
    keys: Vec<(Holder, Key)>,
    /// The holders of key pairs by public key, so that a datagram costs one look-up.
    holders: HashMap<PublicKey, Holder>,
    /// For each client, when and from where it may knock.
    conditions: Vec<Conditions>,
    /// The server's key pair, with which datagrams are decrypted.
    server: Option<KeyPair>,
    doors: Vec<Rule>,
    short_tags: HashMap<ShortTag, usize>,
    long_tags: HashMap<LongTag, usize>,
}

#[derive(Debug)]
struct Rule {
    sequence: Option<Sequence>,
    /// For each client, whether it may open the door.
    clients: Vec<bool>,
    lease: Duration,
    max_lease: Duration,
    require_binding: bool,
    allow_other: bool,
}

impl Authenticator {
    /// An authenticator for `policy`, whose indices a [`Verified`] has.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let Policy {
            clients,
            doors,
            server,
        } = policy;
        let secrets = || clients.iter().enumerate().flat_map(secrets);
        let public_keys = secrets().filter_map(|(holder, secret)| match secret {
            Secret::Pair(peer) => Some((peer.public, holder)),
            Secret::Classic(_) => None,
        });
        let server = server.as_ref();
        let names = || doors.iter().map(|door| door.name.as_str()).enumerate();
        Self {
            keys: secrets()
                .map(|(holder, secret)| (holder, secret.key()))
                .collect(),
            holders: public_keys.collect(),
            conditions: clients
                .iter()
                .map(|client| client.conditions.clone())
                .collect(),
            server: server.map(|key| KeyPair::from(PrivateKey::new(*key.0.expose()))),
            short_tags: names()
                .map(|(index, name)| (ShortTag::of(name), index))
                .collect(),
            long_tags: names()
                .map(|(index, name)| (LongTag::of(name), index))
                .collect(),
            doors: doors
                .iter()
                .map(|door| Rule {
                    sequence: door.sequence.clone(),
                    clients: flags(&door.clients, clients.len()),
                    lease: door.lease,
                    max_lease: door.max_lease,
                    require_binding: door.require_binding,
                    allow_other: door.allow_other,
                })
                .collect(),
        }
    }

    /// Tries each block with every key: one AES operation for each key, and then checks up to the
    /// first that fails. This does not detect replays.
    ///
    /// For each block in their order, the knock, or the [`Refusal`] of the client whose key passed the
    /// most checks.
    #[must_use]
    pub fn verify(&self, attempts: &[Attempt]) -> Vec<Result<Verified, Refused>> {
        let tiles = attempts.chunks(TILE_LEN);
        tiles.flat_map(|tile| self.verify_tile(tile)).collect()
    }

    fn verify_tile(&self, attempts: &[Attempt]) -> Vec<Result<Verified, Refused>> {
        let mut tile = Tile::new(attempts.iter().map(|attempt| attempt.block));
        let mut outcomes = vec![Err(Refused::NO_KEY); attempts.len()];
        let mut left = attempts.len();
        for (holder, key) in &self.keys {
            if left == 0 {
                break;
            }
            let mut judge = |place: usize, outcome: Result<Verified, Refusal>| {
                if outcomes[place].is_err() && outcome.is_ok() {
                    left -= 1;
                }
                further(&mut outcomes[place], holder.client, outcome);
            };
            match key {
                Key::Syn(key) => key.decipher_all(&mut tile, |place, plaintext| {
                    judge(place, self.syn(*holder, key, &plaintext, &attempts[place]));
                }),
                Key::Classic(key) => key.decipher_all(&mut tile, |place, plaintext| {
                    judge(place, self.classic(*holder, &plaintext, &attempts[place]));
                }),
            }
        }
        outcomes
    }

    fn syn(
        &self,
        holder: Holder,
        key: &SynKey,
        plaintext: &Plaintext,
        Attempt { block, arrival }: &Attempt,
    ) -> Result<Verified, Refusal> {
        let request = Request::from_plaintext(plaintext).map_err(|_| Refusal::BadParity)?;
        let door = self.short_tags.get(&request.door);
        let door = *door.ok_or(Refusal::UnknownTag)?;
        let rule = self.rule(door, holder.client)?;
        request.check_time(arrival.now, arrival.max_skew)?;
        self.check_holder(holder, arrival)?;
        if !request.binding.allows(arrival.source, key) {
            return Err(Refusal::BoundElsewhere);
        }
        let is_bound = request.binding.is_bound();
        if rule.require_binding && !is_bound {
            return Err(Refusal::NotBound);
        }
        Ok(Verified {
            client: holder.client,
            door,
            beneficiary: arrival.source,
            wish: rule.wish(request.lease.into()),
            single_use: Some(SingleUse {
                id: block.0,
                made_at: request.time.nearest_unix_ms(arrival.now),
            }),
            is_bound,
            old_key_until: holder.until,
        })
    }

    /// Checks that knocks with the key of `holder` are accepted now and from there.
    fn check_holder(&self, holder: Holder, arrival: &Arrival) -> Result<(), Refusal> {
        let conditions = &self.conditions[holder.client];
        if conditions.has_expired(arrival.now) {
            return Err(Refusal::Expired);
        }
        if holder.until.is_some_and(|until| until <= arrival.now) {
            return Err(Refusal::OldKey);
        }
        if !conditions.is_from(arrival.source) {
            return Err(Refusal::Outside);
        }
        Ok(())
    }

    /// The rule of `door`, if `client` may open it.
    fn rule(&self, door: usize, client: usize) -> Result<&Rule, Refusal> {
        let rule = &self.doors[door];
        if rule.clients.get(client) == Some(&true) {
            Ok(rule)
        } else {
            Err(Refusal::ClientNotAllowed)
        }
    }

    fn classic(
        &self,
        holder: Holder,
        plaintext: &Plaintext,
        Attempt { arrival, .. }: &Attempt,
    ) -> Result<Verified, Refusal> {
        let door = self
            .doors
            .iter()
            .position(|rule| rule.has_sequence(plaintext))
            .ok_or(Refusal::UnknownSequence)?;
        let rule = self.rule(door, holder.client)?;
        self.check_holder(holder, arrival)?;
        Ok(Verified {
            client: holder.client,
            door,
            beneficiary: arrival.source,
            wish: Wish::Open(rule.lease),
            single_use: None,
            is_bound: false,
            old_key_until: None,
        })
    }
}

/// The secrets of the client with this index: the current one, then the one before.
fn secrets((index, client): (usize, &Client)) -> impl Iterator<Item = (Holder, &Secret)> {
    let holder = |until| Holder {
        client: index,
        until,
    };
    let previous = client.previous.as_ref();
    let previous = previous.map(|key| (holder(Some(key.until)), &key.secret));
    std::iter::once((holder(None), &client.secret)).chain(previous)
}

/// For each of `len` indices, whether it is in `indices`.
fn flags(indices: &[usize], len: usize) -> Vec<bool> {
    let mut flags = vec![false; len];
    for index in indices {
        if let Some(flag) = flags.get_mut(*index) {
            *flag = true;
        }
    }
    flags
}

impl Rule {
    fn wish(&self, lease: RequestedLease) -> Wish {
        lease
            .granted(self.lease, self.max_lease)
            .map_or(Wish::Close, Wish::Open)
    }

    fn has_sequence(&self, plaintext: &Plaintext) -> bool {
        self.sequence
            .as_ref()
            .is_some_and(|sequence| sequence.plaintext().ct_eq(plaintext).into())
    }
}

impl From<Stale> for Refusal {
    fn from(stale: Stale) -> Self {
        Self::Stale {
            age_ms: stale.age_ms,
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BadParity => Self::BadParity,
            Refusal::UnknownSequence => Self::UnknownSequence,
            Refusal::Forged => Self::Forged,
            Refusal::Invalid => Self::Invalid,
            Refusal::UnknownTag => Self::UnknownDoor,
            Refusal::ClientNotAllowed => Self::NotAllowed,
            Refusal::Stale { .. } => Self::Stale,
            Refusal::Expired => Self::Expired,
            Refusal::OldKey => Self::OldKey,
            Refusal::Outside => Self::Outside,
            Refusal::BoundElsewhere => Self::Elsewhere,
            Refusal::NotBound => Self::Unbound,
            Refusal::ForOther => Self::ForOther,
        }
    }
}

#[cfg(test)]
mod tests;
