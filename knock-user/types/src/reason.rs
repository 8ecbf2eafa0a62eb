//! Reasons for the refusal of a block.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The reason for the refusal of a block. Its `Display` and serialized form is one stable word
/// (docs/logs.md, "Reasons").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No key matches.
    BadParity,
    /// The parity of a classic key matches, but no door has the sequence.
    UnknownSequence,
    /// A client's key may match, but the door does not exist.
    UnknownDoor,
    /// The client may not open the door.
    NotAllowed,
    /// The knock's time is too far in the past or in the future.
    Stale,
    /// The client has expired.
    Expired,
    /// The knock was made with the client's previous key, whose time is over.
    OldKey,
    /// The client may not knock from the source address.
    Outside,
    /// The knock is bound to another source address.
    Elsewhere,
    /// The knock is unbound, and the door requires a bound one.
    Unbound,
    /// The knock asks for another address than its own, which the door does not allow.
    ForOther,
    /// A datagram that was not made for this server, or by a client that it does not know.
    Forged,
    /// A datagram of a known client with a request that this version does not understand.
    Invalid,
    /// The knock was accepted before, from another address.
    Replayed,
    /// The knock was accepted before, from the same address as far as is known.
    Repeated,
    /// A further copy of a knock that was just accepted. Clients send every SYN several times.
    Copy,
    /// The SYNs of the knock came from several addresses, and it admits one.
    Scattered,
    /// The source exceeded its rate limit.
    Rate,
    /// Too many doors are open.
    DoorsFull,
    /// The fleet's engine has not acknowledged the knock's claim in time.
    Unreachable,
    /// The fleet has revoked the client's key.
    Revoked,
}

impl Reason {
    /// Whether background noise causes refusals for this reason: port scans, reordered SYNs of a
    /// genuine knock, and its further copies. A 16-bit check matches one random block in 2^16 per
    /// key, so with many clients a key occasionally appears to match.
    #[must_use]
    pub fn is_noise(self) -> bool {
        match self {
            Self::BadParity
            | Self::UnknownSequence
            | Self::UnknownDoor
            | Self::Forged
            | Self::Copy => true,
            Self::NotAllowed
            | Self::Stale
            | Self::Expired
            | Self::OldKey
            | Self::Outside
            | Self::Elsewhere
            | Self::Unbound
            | Self::ForOther
            | Self::Invalid
            | Self::Replayed
            | Self::Repeated
            | Self::Scattered
            | Self::Rate
            | Self::DoorsFull
            | Self::Unreachable
            | Self::Revoked => false,
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
            Self::Expired => "expired",
            Self::OldKey => "old-key",
            Self::Outside => "outside",
            Self::Elsewhere => "elsewhere",
            Self::Unbound => "unbound",
            Self::ForOther => "for-other",
            Self::Forged => "forged",
            Self::Invalid => "invalid",
            Self::Replayed => "replayed",
            Self::Repeated => "repeated",
            Self::Copy => "copy",
            Self::Scattered => "scattered",
            Self::Rate => "rate",
            Self::DoorsFull => "doors-full",
            Self::Unreachable => "unreachable",
            Self::Revoked => "revoked",
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
            Reason::Expired,
            Reason::OldKey,
            Reason::Outside,
            Reason::Elsewhere,
            Reason::Unbound,
            Reason::ForOther,
            Reason::Forged,
            Reason::Invalid,
            Reason::Replayed,
            Reason::Repeated,
            Reason::Copy,
            Reason::Scattered,
            Reason::Rate,
            Reason::DoorsFull,
        ] {
            let word = serde_json::to_value(reason).unwrap();
            assert_eq!(word, reason.to_string());
        }
    }
}
