//! The SYN knock, the default: one single-use block states the door, the time, the source address
//! and the lease of a request (docs/protocol.md, "SYN knock").
//!
//! This module makes the checks that need only the block; the daemon makes the others. They run
//! in this order and stop at the first failure: [`Request::open`] checks parity and version (for
//! many blocks at once: [`SynKey::decipher_all`] and [`Request::from_plaintext`]), the daemon looks up [`Request::door`], then come [`Request::check_time`], [`Binding::allows`]
//! and [`Binding::is_bound`], and finally the daemon's replay store.

use core::{fmt, time::Duration};

use super::{
    block::{BODY_LEN, BadParity, Block, Plaintext},
    door::{DoorTag, ShortTag},
    lease::ShortLease,
    stale::{Stale, check_age},
};

mod binding;
mod key;
mod time;

pub use binding::{Binding, SourceTag};
pub use key::{SYN_SECRET_LEN, SynKey, SynSecret};
pub use time::Time40;

/// The protocol version, which is the first byte of the plaintext.
pub const VERSION: u8 = 2;

/// The content of a SYN knock.
///
/// None of the fields is secret, so `Debug` shows them. The key authenticates the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The door to open.
    pub door: ShortTag,
    /// The time on the client's clock.
    pub time: Time40,
    /// The source address that the request is valid for.
    pub binding: Binding,
    /// How long the door should stay open.
    pub lease: ShortLease,
    /// Distinguishes requests of the same millisecond.
    pub random: u8,
}

/// Why a block does not contain a valid request under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The XOR of the plaintext is not zero: another key, another order, or background noise.
    BadParity,
    /// The plaintext has this unknown version: background noise, or an incompatible client.
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

impl Request {
    /// Enciphers the request to the block that a client sends.
    #[must_use]
    pub fn seal(&self, key: &SynKey) -> Block {
        key.encipher(&self.plaintext())
    }

    /// Deciphers `block` and decodes the request. Costs one AES operation and no allocation, and
    /// stops at the first check that fails.
    ///
    /// The result is not yet verified: the caller must check door, time, binding and replay.
    ///
    /// # Errors
    ///
    /// Returns [`OpenError`] if the parity or the version is wrong.
    pub fn open(key: &SynKey, block: &Block) -> Result<Self, OpenError> {
        let plaintext = key.decipher(block).map_err(|_| OpenError::BadParity)?;
        Self::from_plaintext(&plaintext)
    }

    /// The encoded request.
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

    /// Decodes the request in `plaintext`.
    ///
    /// # Errors
    ///
    /// Returns [`OpenError::UnknownVersion`] unless the version is 2. All values of the other
    /// fields are valid.
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
            lease: ShortLease::from_bytes([l0, l1]),
            random,
        })
    }

    /// Milliseconds from the request's time to `now` (Unix milliseconds); negative if the
    /// request's time is in the future. Times are modulo 2^40; this is the shorter distance.
    #[must_use]
    pub const fn age_ms(&self, now: u64) -> i64 {
        Time40::from_unix_ms(now).since(self.time)
    }

    /// Checks that the request's time differs from `now` (Unix milliseconds) by at most
    /// `max_skew`, in either direction. A `max_skew` of 2^39 ms (17 years) accepts every time.
    ///
    /// # Errors
    ///
    /// Returns [`Stale`] if it differs by more.
    pub fn check_time(&self, now: u64, max_skew: Duration) -> Result<(), Stale> {
        check_age(self.age_ms(now), max_skew)
    }
}

#[cfg(test)]
mod tests;
