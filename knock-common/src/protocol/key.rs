//! The keys that encipher knocks.

use core::fmt;

use aes::{
    Aes128, Aes256,
    cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit as _, consts::U16},
};
use md5::{Digest as _, Md5};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::block::{BadParity, Block, Plaintext};

mod file;
#[cfg(feature = "passphrase")]
mod passphrase;

pub use file::{KEY_FILE_LEN, KeyFileError, KeyFileText};
#[cfg(feature = "passphrase")]
pub use passphrase::DerivationError;

/// The length of a sealed client's key, in bytes.
pub const SECRET_KEY_LEN: usize = 32;

/// The length of a classic client's key, in bytes.
pub const CLASSIC_KEY_LEN: usize = 16;

fn encipher(cipher: &impl BlockCipherEncrypt<BlockSize = U16>, plaintext: &Plaintext) -> Block {
    let mut block = (*plaintext.as_bytes()).into();
    cipher.encrypt_block(&mut block);
    Block(block.into())
}

fn decipher(
    cipher: &impl BlockCipherDecrypt<BlockSize = U16>,
    block: &Block,
) -> Result<Plaintext, BadParity> {
    let mut bytes = block.0.into();
    cipher.decrypt_block(&mut bytes);
    Plaintext::checked(bytes.into())
}

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
}

impl fmt::Debug for ClassicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClassicKey(..)")
    }
}

/// The 32 bytes that a sealed client and the daemon share (docs/protocol.md, "Sealed").
///
/// They are wiped when dropped, compared in constant time, and not shown by `Debug`. Only
/// [`SecretKey::key_file_text`] and [`SecretKey::expose`] reveal them. A [`SealedKey`] enciphers
/// with them. There is no `Clone`: the fewer copies of a secret, the better.
pub struct SecretKey([u8; SECRET_KEY_LEN]);

impl SecretKey {
    /// The key with these bytes. The caller must wipe its own copy; with [`SecretKey::try_fill`]
    /// there is none.
    #[must_use]
    pub const fn new(bytes: [u8; SECRET_KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The key that `fill` writes, for example from the system's random number generator.
    ///
    /// # Errors
    ///
    /// Returns the error of `fill`. Bytes that it wrote before are wiped.
    pub fn try_fill<E>(
        fill: impl FnOnce(&mut [u8; SECRET_KEY_LEN]) -> Result<(), E>,
    ) -> Result<Self, E> {
        // Constructed first, so that the bytes are wiped if `fill` fails.
        let mut key = Self([0; SECRET_KEY_LEN]);
        fill(&mut key.0)?;
        Ok(key)
    }

    /// The bytes, to be sent to the process that verifies knocks.
    #[must_use]
    pub const fn expose(&self) -> &[u8; SECRET_KEY_LEN] {
        &self.0
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for SecretKey {}

impl ConstantTimeEq for SecretKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A sealed client's key, ready for use: an AES-256 key schedule that is computed once and
/// wiped when dropped (docs/protocol.md, "Sealed").
#[derive(Clone)]
pub struct SealedKey(Aes256);

impl SealedKey {
    /// Computes the key schedule of `secret`.
    #[must_use]
    pub fn new(secret: &SecretKey) -> Self {
        Self(Aes256::new((&secret.0).into()))
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
}

impl From<&SecretKey> for SealedKey {
    fn from(secret: &SecretKey) -> Self {
        Self::new(secret)
    }
}

impl ZeroizeOnDrop for SealedKey {}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::block::BODY_LEN;

    #[test]
    fn debug_shows_nothing() {
        let secret = SecretKey::new([65; SECRET_KEY_LEN]);
        assert_eq!(format!("{secret:?}"), "SecretKey(..)");
        assert_eq!(format!("{:?}", SealedKey::new(&secret)), "SealedKey(..)");
        let classic = ClassicKey::from_passphrase(b"AAAA");
        assert_eq!(format!("{classic:?}"), "ClassicKey(..)");
    }

    #[test]
    fn schedules_are_wiped_when_dropped() {
        // `SealedKey` and `ClassicKey` have no other fields, so this bound covers them.
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<Aes128>();
        wiped::<Aes256>();
    }

    #[test]
    fn a_failed_fill_makes_no_key() {
        let failed = SecretKey::try_fill(|bytes| {
            bytes.fill(1);
            Err("no entropy")
        });
        assert_eq!(failed, Err("no entropy"));
        let filled = SecretKey::try_fill(|bytes| {
            bytes.fill(1);
            Ok::<(), ()>(())
        });
        assert_eq!(filled, Ok(SecretKey::new([1; SECRET_KEY_LEN])));
    }

    proptest! {
        #[test]
        fn keys_are_equal_when_all_their_bytes_are(
            bytes: [u8; SECRET_KEY_LEN],
            place in 0..SECRET_KEY_LEN,
            flip in 1_u8..,
        ) {
            let mut other = bytes;
            prop_assert_eq!(SecretKey::new(bytes), SecretKey::new(other));
            other[place] ^= flip;
            prop_assert_ne!(SecretKey::new(bytes), SecretKey::new(other));
        }

        #[test]
        fn deciphers_what_was_enciphered(bytes: [u8; SECRET_KEY_LEN], body: [u8; BODY_LEN]) {
            let key = SealedKey::new(&SecretKey::new(bytes));
            let plaintext = Plaintext::new(&body);
            prop_assert_eq!(key.decipher(&key.encipher(&plaintext)), Ok(plaintext));
        }
    }
}
