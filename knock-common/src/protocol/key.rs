//! The keys that knocks are enciphered with.

use core::fmt;

use aes::{
    Aes128,
    cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _},
};
use md5::{Digest as _, Md5};
use zeroize::Zeroize as _;

use super::block::{BadParity, Block, Plaintext};

/// A classic client's key: AES-128 under MD5(passphrase), its key schedule computed once
/// and wiped when dropped (protocol.md, "Classic").
#[derive(Clone)]
pub struct ClassicKey(Aes128);

impl ClassicKey {
    /// The key of `passphrase`, whose bytes are taken as they are.
    #[must_use]
    pub fn from_passphrase(passphrase: &[u8]) -> Self {
        let mut digest = Md5::digest(passphrase);
        let key = Self(Aes128::new(&digest));
        digest.zeroize();
        key
    }

    /// Enciphers one block.
    #[must_use]
    pub fn encipher(&self, plaintext: &Plaintext) -> Block {
        let mut block = (*plaintext.as_bytes()).into();
        self.0.encrypt_block(&mut block);
        Block(block.into())
    }

    /// Deciphers one block.
    ///
    /// # Errors
    ///
    /// [`BadParity`] if it was not enciphered under this key (but for one block in 256).
    pub fn decipher(&self, block: &Block) -> Result<Plaintext, BadParity> {
        let mut bytes = block.0.into();
        self.0.decrypt_block(&mut bytes);
        Plaintext::checked(bytes.into())
    }
}

impl fmt::Debug for ClassicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClassicKey(..)")
    }
}
