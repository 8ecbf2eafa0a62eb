//! Why a block opens no door.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a block opens no door, as one stable word (README.md, "What the log says").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No key fits.
    BadParity,
    /// The parity of a classic key holds, but no door has the sequence.
    UnknownSequence,
    /// A sealed key may fit, but there is no such door.
    UnknownDoor,
    /// The client may not open the door.
    NotAllowed,
    /// Made too long ago, or in the future.
    Stale,
    /// Made for another source address.
    Elsewhere,
    /// Made for any source address, at a door that wants one.
    Unbound,
    /// Accepted before, and now from somewhere else.
    Replayed,
    /// Accepted before, and long ago; from where its client is, as far as is known.
    Repeated,
    /// A further copy of a knock that was just accepted, as every client sends.
    Copy,
    /// More blocks than one source may try.
    Rate,
    /// Too many doors are open.
    DoorsFull,
}

impl Reason {
    /// Whether this comes about without anybody's intention: from a scan, from the SYNs of a
    /// genuine knock in a wrong order, from its second copy. A key "fits" one block of noise
    /// in 2^16, which with a thousand clients happens.
    #[must_use]
    pub fn is_noise(self) -> bool {
        match self {
            Self::BadParity | Self::UnknownSequence | Self::UnknownDoor | Self::Copy => true,
            Self::NotAllowed
            | Self::Stale
            | Self::Elsewhere
            | Self::Unbound
            | Self::Replayed
            | Self::Repeated
            | Self::Rate
            | Self::DoorsFull => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadParity => "bad-parity",
            Self::UnknownSequence => "unknown-sequence",
            Self::UnknownDoor => "unknown-door",
            Self::NotAllowed => "not-allowed",
            Self::Stale => "stale",
            Self::Elsewhere => "elsewhere",
            Self::Unbound => "unbound",
            Self::Replayed => "replayed",
            Self::Repeated => "repeated",
            Self::Copy => "copy",
            Self::Rate => "rate",
            Self::DoorsFull => "doors-full",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_same_word_in_every_format() {
        for reason in [
            Reason::BadParity,
            Reason::UnknownSequence,
            Reason::UnknownDoor,
            Reason::NotAllowed,
            Reason::Stale,
            Reason::Elsewhere,
            Reason::Unbound,
            Reason::Replayed,
            Reason::Repeated,
            Reason::Copy,
            Reason::Rate,
            Reason::DoorsFull,
        ] {
            let word = serde_json::to_value(reason).unwrap();
            assert_eq!(word, reason.to_string());
        }
    }
}
