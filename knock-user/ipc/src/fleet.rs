//! The channel between the listener and the fleet process, which is connected to the engine: NATS
//! with JetStream.
//!
//! A pair of connected Unix sockets of sequenced packets. The first packet is the [`Startup`] of the
//! supervisor, which is in the fleet process's end before the listener receives its own. From then
//! on each packet is JSON: the listener sends an [`Order`], and the fleet process a [`Report`].
//!
//! The fleet process has no key of a client and not the fleet's key. It handles a claim as bytes
//! that it cannot check. The listener does not trust it: what is not a [`Report`], or longer than
//! [`MAX_PACKET`], closes the channel.

use std::{fmt, time::Duration};

use knockd_runtime::log;
use knockd_types::fleet::Engine;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The `argv[0]` that selects the role of the fleet process.
pub const FLEET_NAME: &str = "knockd-fleet";

/// The longest packet, except the first.
pub const MAX_PACKET: usize = 4096;

/// The longest first packet: the certificates of two sides and a key, as text.
pub const MAX_STARTUP: usize = 128 * 1024;

/// The length of a record in bytes.
pub const RECORD_LEN: usize = 128;

/// The most claims that a node has ordered and not read yet. The engine takes thousands a second.
pub const MAX_CLAIMS: usize = 4096;

/// The longest text of a [`Beat`](Order::Beat) in bytes.
pub const MAX_BEAT: usize = 1024;

/// Bytes that are hexadecimal digits in JSON, and in subjects of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// What names a claim: the engine accepts one claim of each identity.
pub type ClaimId = Hex<16>;

/// The content of a claim, which only the listeners of the fleet can make and check.
pub type Record = Hex<RECORD_LEN>;

/// What the fleet process is to do. The first packet, from the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub struct Startup {
    /// The log format.
    pub log: log::Choice,
    /// How the engine is reached.
    pub engine: Engine,
    /// How long a claim is tried, from the time that its order is received.
    pub patience: Duration,
}

/// A packet of the listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Claim `id` with `record`. A [`Report::Outcome`] follows within the patience.
    Claim {
        /// The identity.
        id: ClaimId,
        /// What every node is told of it.
        record: Record,
    },
    /// Tell the other nodes that this one is alive.
    Beat {
        /// The name of this node.
        node: String,
        /// What it tells about itself, of at most [`MAX_BEAT`] bytes.
        text: String,
    },
}

/// A packet of the fleet process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The engine is reached.
    Connected {
        /// The version of the server.
        version: String,
    },
    /// The engine is not reached any more, or not yet. Sent again when the reason changes.
    Lost {
        /// Why, for a person.
        reason: String,
    },
    /// A claim in the stream of claims, in its order. After a start every claim that the stream
    /// has, then those that are added. None is sent twice, and none is left out.
    Read {
        /// Its identity.
        id: ClaimId,
        /// Its content, which may be anything.
        record: Record,
    },
    /// Every claim that the stream had at the last [`Connected`](Self::Connected) was sent.
    Current,
    /// What became of the order to claim `id`.
    Outcome {
        /// The identity.
        id: ClaimId,
        /// What became of it.
        outcome: Outcome,
    },
    /// A [`Order::Beat`] of another node, or of this one.
    Beat {
        /// The node that it is said to be of.
        node: String,
        /// Its text.
        text: String,
    },
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The engine has stored it, on as many servers as it has to.
    Created,
    /// The engine has a claim of this identity already: of another node, or of this one if an
    /// earlier answer was lost. The stream tells.
    Exists,
    /// Nothing is known of it within the patience. It may be created nevertheless, and is read from
    /// the stream then.
    Unknown {
        /// Why, for a person.
        reason: String,
    },
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Hex<N> {
    /// The bytes that `text` stands for: two digits each, in lower case, as `Display` writes them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let digits = text.as_bytes();
        if digits.len() != 2 * N {
            return None;
        }
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let invalid = || D::Error::custom(format!("not {N} bytes as hexadecimal digits"));
        Self::parse(&text).ok_or_else(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_as_digits_and_nothing_else_is_taken() {
        let bytes = Hex([0, 0x0f, 0xf0, 0xff]);
        assert_eq!(bytes.to_string(), "000ff0ff");
        assert_eq!(Hex::parse("000ff0ff"), Some(bytes));
        for wrong in [
            "",
            "000ff0f",
            "000ff0ff0",
            "000FF0FF",
            "+00ff0ff",
            "0x0ff0ff",
            "00é0ff",
        ] {
            assert_eq!(Hex::<4>::parse(wrong), None, "{wrong}");
        }
        let json = serde_json::to_string(&bytes).unwrap();
        assert_eq!(json, "\"000ff0ff\"");
        assert_eq!(serde_json::from_str::<Hex<4>>(&json).unwrap(), bytes);
        assert!(serde_json::from_str::<Hex<5>>(&json).is_err());
    }

    #[test]
    fn the_longest_packets_fit() {
        let (id, record) = (Hex([0xff; 16]), Hex([0xff; RECORD_LEN]));
        let read = serde_json::to_vec(&Report::Read { id, record }).unwrap();
        let text = "\\".repeat(MAX_BEAT);
        let node = "n".repeat(64);
        let beat = serde_json::to_vec(&Report::Beat { node, text }).unwrap();
        assert!(read.len().max(beat.len()) <= MAX_PACKET);
    }
}
