//! One knock's 16 bytes, enciphered and in the clear.

use core::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize as _;

use crate::window::Window;

/// SYNs in a knock, and bytes in a block.
pub const BLOCK_LEN: usize = 16;

/// Bytes of a plaintext before its parity byte.
pub const BODY_LEN: usize = BLOCK_LEN - 1;

/// 16 ciphertext bytes: the offsets of a knock's SYNs, in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block(pub [u8; BLOCK_LEN]);

impl Block {
    /// The ports that are knocked on, in the order of sending.
    #[must_use]
    pub fn ports(&self, window: Window) -> [u16; BLOCK_LEN] {
        self.0.map(|offset| window.port(offset))
    }
}

/// A plaintext whose parity holds: all 16 bytes XOR to zero (README.md, "On the wire").
///
/// It can only be made by adding the parity ([`Plaintext::new`]) or by checking it
/// ([`Plaintext::checked`]). Its bytes are a secret: `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Plaintext([u8; BLOCK_LEN]);

/// The 16 bytes do not XOR to zero: another key, another order, or noise.
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
    /// `body` with its parity byte behind it.
    #[must_use]
    pub fn new(body: &[u8; BODY_LEN]) -> Self {
        let mut bytes = [0; BLOCK_LEN];
        bytes[..BODY_LEN].copy_from_slice(body);
        bytes[BODY_LEN] = xor(body);
        Self(bytes)
    }

    /// `bytes` as a plaintext.
    ///
    /// # Errors
    ///
    /// [`BadParity`] if they do not XOR to zero.
    pub fn checked(bytes: [u8; BLOCK_LEN]) -> Result<Self, BadParity> {
        // Made first, so that the bytes are wiped when they are refused.
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
