//! The key of a classic client.

use core::fmt;

use aes::{Aes128, cipher::KeyInit as _};
use md5::{Digest as _, Md5};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use crate::protocol::{
    block::{BadParity, Block, Plaintext, decipher, encipher},
    tile::Tile,
};

/// The length of a classic client's key, in bytes.
pub const CLASSIC_KEY_LEN: usize = 16;

/// MD5(passphrase), the key of a classic client (docs/protocol.md, "Classic"). Wiped when
/// dropped; `Debug` does not show it.
pub struct ClassicSecret([u8; CLASSIC_KEY_LEN]);

impl ClassicSecret {
    /// The secret with these bytes. The caller must wipe its own copy.
    #[must_use]
    pub const fn new(bytes: [u8; CLASSIC_KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The secret of `passphrase`. The bytes are used unchanged.
    #[must_use]
    pub fn from_passphrase(passphrase: &[u8]) -> Self {
        let mut digest = Md5::digest(passphrase);
        let secret = Self(digest.into());
        digest.zeroize();
        secret
    }

    /// The bytes, to be sent to the process that verifies knocks.
    #[must_use]
    pub const fn expose(&self) -> &[u8; CLASSIC_KEY_LEN] {
        &self.0
    }
}

impl ConstantTimeEq for ClassicSecret {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// Compares in constant time.
impl PartialEq for ClassicSecret {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for ClassicSecret {}

impl Drop for ClassicSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for ClassicSecret {}

impl fmt::Debug for ClassicSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClassicSecret(..)")
    }
}

/// A classic client's key, ready for use: an AES-128 key schedule that is computed once and
/// wiped when dropped (docs/protocol.md, "Classic").
#[derive(Clone)]
pub struct ClassicKey(Aes128);

impl ClassicKey {
    /// Computes the key schedule of `secret`.
    #[must_use]
    pub fn new(secret: &ClassicSecret) -> Self {
        Self(Aes128::new((&secret.0).into()))
    }

    /// The key of `passphrase`. The bytes are used unchanged.
    #[must_use]
    pub fn from_passphrase(passphrase: &[u8]) -> Self {
        Self::new(&ClassicSecret::from_passphrase(passphrase))
    }

    /// Enciphers one block.
    #[must_use]
    pub fn encipher(&self, plaintext: &Plaintext) -> Block {
        encipher(&self.0, plaintext)
    }

    /// Deciphers one block.
    ///
    /// # Errors
    ///
    /// Returns [`BadParity`] if the parity is wrong. A block that was enciphered under another
    /// key passes with a probability of 1/256.
    pub fn decipher(&self, block: &Block) -> Result<Plaintext, BadParity> {
        decipher(&self.0, block)
    }

    /// Calls `found` for each block in `tile` with valid parity, with its place and its plaintext. A
    /// block that was enciphered under another key has it with a probability of 1/256.
    pub fn decipher_all(&self, tile: &mut Tile, found: impl FnMut(usize, Plaintext)) {
        tile.decipher(&self.0, found);
    }
}

impl fmt::Debug for ClassicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClassicKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let classic = ClassicKey::from_passphrase(b"AAAA");
        assert_eq!(format!("{classic:?}"), "ClassicKey(..)");
    }

    #[test]
    fn a_secret_is_that_of_one_passphrase() {
        let secret = |passphrase: &[u8]| ClassicSecret::from_passphrase(passphrase);
        assert!(secret(b"AAAA") == secret(b"AAAA"));
        assert!(secret(b"AAAA") != secret(b"AAAB"));
    }

    #[test]
    fn schedules_are_wiped_when_dropped() {
        // `ClassicKey` has no other field, so this bound covers it.
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<Aes128>();
    }
}
