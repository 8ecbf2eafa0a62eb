//! A knock: 16 destination ports that encode an authenticated request for a door.

use std::fmt;

#[cfg(any(feature = "program", test))]
use knock_common::protocol::classic::{ClassicKey, Sequence};
use knock_common::{
    protocol::{
        block::{BLOCK_LEN, Block},
        syn::{Request, SynKey},
    },
    window::Window,
};

/// One enciphered block and the window that it is sent to.
///
/// Both protocols produce this type; the code that sends it does not depend on the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knock {
    block: Block,
    window: Window,
}

impl Knock {
    /// The classic knock for the door with `sequence` (docs/protocol.md, "Classic").
    ///
    /// It is always the same, so an attacker who observes it can replay it.
    #[cfg(any(feature = "program", test))]
    #[must_use]
    pub fn classic(key: &ClassicKey, sequence: &Sequence, window: Window) -> Self {
        Self {
            block: key.encipher(sequence.plaintext()),
            window,
        }
    }

    /// The SYN knock for `request` (docs/protocol.md, "SYN knock").
    ///
    /// It is single-use. `SynKnocks` makes fresh ones.
    #[must_use]
    pub fn syn(key: &SynKey, request: &Request, window: Window) -> Self {
        Self {
            block: request.seal(key),
            window,
        }
    }

    /// The destination ports, in sending order (docs/protocol.md, "On the wire").
    #[must_use]
    pub fn ports(&self) -> [u16; BLOCK_LEN] {
        self.block.ports(self.window)
    }

    /// The window of the ports.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }
}

/// The ports on one line, separated by spaces, as `--dry-run` prints them.
impl fmt::Display for Knock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, port) in self.ports().into_iter().enumerate() {
            let separator = if i == 0 { "" } else { " " };
            write!(f, "{separator}{port}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        classic: Vec<Classic>,
    }

    #[derive(Deserialize)]
    struct Classic {
        passphrase: String,
        sequence: Vec<u8>,
        base: u16,
        ports: Vec<u16>,
    }

    #[test]
    fn knocks_on_the_ports_of_every_vector() {
        let vectors = include_str!("../../../knock-common/src/protocol/vectors.json");
        let vectors: Vectors = serde_json::from_str(vectors).unwrap();
        assert!(!vectors.classic.is_empty());
        for vector in vectors.classic {
            let knock = Knock::classic(
                &ClassicKey::from_passphrase(vector.passphrase.as_bytes()),
                &Sequence::new(&vector.sequence).unwrap(),
                Window::new(vector.base).unwrap(),
            );
            assert_eq!(knock.ports().as_slice(), vector.ports);
            let printed: Vec<String> = vector.ports.iter().map(u16::to_string).collect();
            assert_eq!(knock.to_string(), printed.join(" "));
        }
    }
}
