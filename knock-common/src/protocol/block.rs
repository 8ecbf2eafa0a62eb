//! The 16 bytes of one knock, as ciphertext and as plaintext.

use core::fmt;

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, consts::U16};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize as _;

use crate::window::Window;

/// The number of SYNs in a knock, and of bytes in a block.
pub const BLOCK_LEN: usize = 16;

/// The number of plaintext bytes before the parity byte.
pub const BODY_LEN: usize = BLOCK_LEN - 1;

/// 16 ciphertext bytes: the window offsets of a knock's SYNs, in sending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block(pub [u8; BLOCK_LEN]);

impl Block {
    /// The destination ports of the knock, in sending order.
    #[must_use]
    pub fn ports(&self, window: Window) -> [u16; BLOCK_LEN] {
        self.0.map(|offset| window.port(offset))
    }
}

/// A plaintext with valid parity: the XOR of all 16 bytes is zero (docs/protocol.md).
///
/// [`Plaintext::new`] adds the parity byte, and [`Plaintext::checked`] verifies it. The bytes
/// are secret: `Debug` does not show them, and they are wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Plaintext([u8; BLOCK_LEN]);

/// The XOR of the 16 bytes is not zero: another key, another order, or background noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadParity;

impl fmt::Display for BadParity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad parity")
    }
}

impl core::error::Error for BadParity {}

fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

impl Plaintext {
    /// Appends the parity byte to `body`.
    #[must_use]
    pub fn new(body: &[u8; BODY_LEN]) -> Self {
        let mut bytes = [0; BLOCK_LEN];
        bytes[..BODY_LEN].copy_from_slice(body);
        bytes[BODY_LEN] = xor(body);
        Self(bytes)
    }

    /// Checks the parity of `bytes`.
    ///
    /// # Errors
    ///
    /// Returns [`BadParity`] if the XOR of the bytes is not zero.
    pub fn checked(bytes: [u8; BLOCK_LEN]) -> Result<Self, BadParity> {
        // Constructed before the check, so that rejected bytes are wiped too.
        let plaintext = Self(bytes);
        if xor(&plaintext.0) == 0 {
            Ok(plaintext)
        } else {
            Err(BadParity)
        }
    }

    /// All 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; BLOCK_LEN] {
        &self.0
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ConstantTimeEq for Plaintext {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext(..)")
    }
}

pub(super) fn encipher(
    cipher: &impl BlockCipherEncrypt<BlockSize = U16>,
    plaintext: &Plaintext,
) -> Block {
    let mut block = (*plaintext.as_bytes()).into();
    cipher.encrypt_block(&mut block);
    Block(block.into())
}

pub(super) fn decipher(
    cipher: &impl BlockCipherDecrypt<BlockSize = U16>,
    block: &Block,
) -> Result<Plaintext, BadParity> {
    let mut bytes = block.0.into();
    cipher.decrypt_block(&mut bytes);
    Plaintext::checked(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(
            format!("{:?}", Plaintext::new(&[65; BODY_LEN])),
            "Plaintext(..)"
        );
    }

    proptest! {
        #[test]
        fn parity_is_added_and_checked(body: [u8; BODY_LEN], place in 0..BLOCK_LEN, flip in 1_u8..) {
            let plaintext = Plaintext::new(&body);
            let mut bytes = *plaintext.as_bytes();
            prop_assert_eq!(Plaintext::checked(bytes), Ok(plaintext));
            bytes[place] ^= flip;
            prop_assert_eq!(Plaintext::checked(bytes), Err(BadParity));
        }
    }
}
