//! How a request names a door.

use core::fmt;

use sha2::{Digest as _, Sha256};

/// The tag that identifies a door in a request: the first `LEN` bytes of SHA-256(name in UTF-8).
/// A SYN knock has room for two bytes, a datagram for eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DoorTag<const LEN: usize>(pub(super) [u8; LEN]);

/// The tag in a SYN knock. Two doors with the same one are a configuration error.
pub type ShortTag = DoorTag<2>;

/// The tag in a datagram. Two doors with different [`ShortTag`]s have different ones.
pub type LongTag = DoorTag<8>;

impl<const LEN: usize> DoorTag<LEN> {
    /// The tag of the door with this `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let digest = Sha256::digest(name);
        Self(core::array::from_fn(|index| digest[index]))
    }
}

impl<const LEN: usize> fmt::Display for DoorTag<LEN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn tags_are_the_digest_of_the_name() {
        // printf %s NAME | sha256sum
        for (name, tag) in [
            ("ssh", "7f5a55cf3f88be93"),
            ("web admin", "b0c415008efdbf9d"),
            ("türe", "ff4242b474ef33b4"),
            ("", "e3b0c44298fc1c14"),
        ] {
            assert_eq!(ShortTag::of(name).to_string(), tag[..4]);
            assert_eq!(LongTag::of(name).to_string(), tag);
        }
        assert_ne!(ShortTag::of("ssh"), ShortTag::of("SSH"));
    }
}
