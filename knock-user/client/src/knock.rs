//! A knock: the 16 ports that say which door is to open, and that one may.

use std::fmt;

use knock_common::{
    protocol::{
        block::{BLOCK_LEN, Block},
        classic::Sequence,
        key::{ClassicKey, SealedKey},
        sealed::Request,
    },
    window::Window,
};

/// One enciphered block, aimed at a window.
///
/// Every protocol ends in one of these; what sends it need not know which protocol it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knock {
    block: Block,
    window: Window,
}

impl Knock {
    /// The classic knock for the door with `sequence` (README.md, "Classic").
    ///
    /// It is the same every time, so whoever sees it can send it again.
    #[must_use]
    pub fn classic(key: &ClassicKey, sequence: &Sequence, window: Window) -> Self {
        Self {
            block: key.encipher(sequence.plaintext()),
            window,
        }
    }

    /// The sealed knock that asks for `request` (README.md, "Sealed").
    ///
    /// The daemon accepts it once. [`SealedKnocks`](super::SealedKnocks) makes fresh ones.
    #[must_use]
    pub fn sealed(key: &SealedKey, request: &Request, window: Window) -> Self {
        Self {
            block: request.seal(key),
            window,
        }
    }

    /// The ports to knock on, in the order of sending (README.md, "On the wire").
    #[must_use]
    pub fn ports(&self) -> [u16; BLOCK_LEN] {
        self.block.ports(self.window)
    }

    /// The window that the ports lie in.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }
}

/// The ports on one line, separated by spaces: what `--dry-run` prints.
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
