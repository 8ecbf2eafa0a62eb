//! The default scheme: one block says which door, when, from where and for how long, and
//! passes once (README.md, "Sealed").
//!
//! What can be told from the block alone is here; the rest is the daemon's. In order, and
//! stopping at the first that fails: [`Request::open`] checks parity and version, the daemon
//! looks [`Request::door`] up, [`Request::check_time`] follows, then [`Binding::allows`] and
//! [`Binding::is_bound`], and last the daemon's memory of accepted blocks.

use core::{fmt, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{
    block::{BODY_LEN, BadParity, Block, Plaintext},
    key::SealedKey,
};

mod binding;
mod lease;
mod time;

pub use binding::{Binding, SourceTag, UnspecifiedSource};
pub use lease::{LeaseOutOfRange, RequestedLease};
pub use time::Time40;

/// The first byte of a sealed plaintext.
pub const VERSION: u8 = 1;

/// A door as a request names it: the first two bytes of SHA-256(door's name, UTF-8).
///
/// Two doors with one tag are a configuration error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DoorTag([u8; 2]);

impl DoorTag {
    /// The tag of the door called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let digest = Sha256::digest(name);
        Self([digest[0], digest[1]])
    }
}

impl fmt::Display for DoorTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", u16::from_be_bytes(self.0))
    }
}

/// What a sealed knock asks for.
///
/// Nothing in it is a secret of its own, so `Debug` shows it; who may ask is settled by the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The door to open.
    pub door: DoorTag,
    /// The client's clock.
    pub time: Time40,
    /// The source address that the request holds for.
    pub binding: Binding,
    /// How long the door is to stay open.
    pub lease: RequestedLease,
    /// Tells apart requests of the same millisecond.
    pub random: u8,
}

/// Why a block holds no request under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The plaintext's bytes do not XOR to zero: another key, another order, or noise.
    BadParity,
    /// The plaintext has this version: noise, or a client of another generation.
    UnknownVersion(u8),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadParity => BadParity.fmt(f),
            Self::UnknownVersion(version) => write!(f, "unknown version {version}"),
        }
    }
}

impl core::error::Error for OpenError {}

/// The request's time is too far from the daemon's. See [`Request::check_time`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Milliseconds since the request was made; negative if its time is yet to come.
    pub age_ms: i64,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = Duration::from_millis(self.age_ms.unsigned_abs());
        if self.age_ms < 0 {
            write!(f, "{age:.3?} ahead of this clock")
        } else {
            write!(f, "stale by {age:.3?}")
        }
    }
}

impl core::error::Error for Stale {}

impl Request {
    /// The block that a client knocks with.
    #[must_use]
    pub fn seal(&self, key: &SealedKey) -> Block {
        key.encipher(&self.plaintext())
    }

    /// What `block` asks for if it was sealed under `key`: one block operation, no allocation,
    /// and an end at the first check that fails.
    ///
    /// A request is not proof: its time, binding and freshness are still to be checked.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if parity or version is wrong.
    pub fn open(key: &SealedKey, block: &Block) -> Result<Self, OpenError> {
        let plaintext = key.decipher(block).map_err(|_| OpenError::BadParity)?;
        Self::from_plaintext(&plaintext)
    }

    /// What is enciphered to ask for this.
    #[must_use]
    pub fn plaintext(&self) -> Plaintext {
        let [d0, d1] = self.door.0;
        let [t0, t1, t2, t3, t4] = self.time.to_bytes();
        let [b0, b1, b2, b3] = self.binding.to_bytes();
        let [l0, l1] = self.lease.to_bytes();
        let body: [u8; BODY_LEN] = [
            VERSION,
            d0,
            d1,
            t0,
            t1,
            t2,
            t3,
            t4,
            b0,
            b1,
            b2,
            b3,
            l0,
            l1,
            self.random,
        ];
        Plaintext::new(&body)
    }

    /// What `plaintext` asks for.
    ///
    /// # Errors
    ///
    /// [`OpenError::UnknownVersion`] unless it is of version 1. Every other field takes any
    /// value.
    pub fn from_plaintext(plaintext: &Plaintext) -> Result<Self, OpenError> {
        let [
            version,
            d0,
            d1,
            t0,
            t1,
            t2,
            t3,
            t4,
            b0,
            b1,
            b2,
            b3,
            l0,
            l1,
            random,
            _,
        ] = *plaintext.as_bytes();
        if version != VERSION {
            return Err(OpenError::UnknownVersion(version));
        }
        Ok(Self {
            door: DoorTag([d0, d1]),
            time: Time40::from_bytes([t0, t1, t2, t3, t4]),
            binding: Binding::from_bytes([b0, b1, b2, b3]),
            lease: RequestedLease::from_bytes([l0, l1]),
            random,
        })
    }

    /// Milliseconds from the request's time to `now` (Unix milliseconds); negative if its
    /// time is yet to come. Both are taken modulo 2^40, so this is the shorter way round.
    #[must_use]
    pub const fn age_ms(&self, now: u64) -> i64 {
        Time40::from_unix_ms(now).since(self.time)
    }

    /// Whether the request's time is at most `max_skew` away from `now` (Unix milliseconds),
    /// in either direction. A `max_skew` of 2^39 ms (17 years) would let every time pass.
    ///
    /// # Errors
    ///
    /// [`Stale`] if it is further away.
    pub fn check_time(&self, now: u64, max_skew: Duration) -> Result<(), Stale> {
        let age_ms = self.age_ms(now);
        if Duration::from_millis(age_ms.unsigned_abs()) <= max_skew {
            Ok(())
        } else {
            Err(Stale { age_ms })
        }
    }
}

#[cfg(test)]
mod tests;
