//! The classic scheme: the plaintext is the secret sequence of a door (docs/protocol.md,
//! "Classic").

use core::fmt;

use super::block::{BODY_LEN, Plaintext};

mod key;

pub use key::{CLASSIC_KEY_LEN, ClassicKey, ClassicSecret};

/// A door's sequence: 1 to 15 bytes, padded with zeros at the end.
///
/// Sequences that differ only in trailing zeros are equal, because the padded plaintext is the
/// same. The sequence is secret: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sequence(Plaintext);

/// The length of a sequence that is empty or has more than 15 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidLength(pub usize);

impl fmt::Display for InvalidLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a sequence has 1 to {BODY_LEN} numbers, not {}", self.0)
    }
}

impl core::error::Error for InvalidLength {}

impl Sequence {
    /// The sequence with these bytes.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidLength`] unless there are 1 to 15 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidLength> {
        if bytes.is_empty() || bytes.len() > BODY_LEN {
            return Err(InvalidLength(bytes.len()));
        }
        let mut body = [0; BODY_LEN];
        body[..bytes.len()].copy_from_slice(bytes);
        Ok(Self(Plaintext::new(&body)))
    }

    /// The padded plaintext that a client enciphers.
    #[must_use]
    pub fn plaintext(&self) -> &Plaintext {
        &self.0
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sequence(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::block::Block;

    #[test]
    fn length_is_bounded() {
        assert_eq!(Sequence::new(&[]), Err(InvalidLength(0)));
        assert_eq!(Sequence::new(&[0; 16]), Err(InvalidLength(16)));
        assert!(Sequence::new(&[0; 15]).is_ok());
    }

    #[test]
    fn trailing_zeros_do_not_tell_sequences_apart() {
        assert_eq!(Sequence::new(&[1, 2]), Sequence::new(&[1, 2, 0]));
        assert_ne!(Sequence::new(&[1, 2]), Sequence::new(&[0, 1, 2]));
    }

    proptest! {
        #[test]
        fn deciphers_what_was_enciphered(
            passphrase: std::vec::Vec<u8>,
            bytes in prop::collection::vec(any::<u8>(), 1..=15),
        ) {
            let key = ClassicKey::from_passphrase(&passphrase);
            let sequence = Sequence::new(&bytes).unwrap();
            let block = key.encipher(sequence.plaintext());
            prop_assert_eq!(key.decipher(&block), Ok(sequence.plaintext().clone()));
        }

        #[test]
        fn another_passphrase_never_yields_the_sequence(
            passphrase: std::vec::Vec<u8>,
            other: std::vec::Vec<u8>,
            bytes in prop::collection::vec(any::<u8>(), 1..=15),
        ) {
            prop_assume!(passphrase != other);
            let sequence = Sequence::new(&bytes).unwrap();
            let block = ClassicKey::from_passphrase(&passphrase).encipher(sequence.plaintext());
            let deciphered = ClassicKey::from_passphrase(&other).decipher(&block);
            prop_assert_ne!(deciphered, Ok(sequence.plaintext().clone()));
        }

        #[test]
        fn random_blocks_never_yield_the_sequence(block: [u8; 16]) {
            let key = ClassicKey::from_passphrase(b"correct horse battery staple");
            let sequence = Sequence::new(&[1, 2, 3, 4]).unwrap();
            let deciphered = key.decipher(&Block(block));
            prop_assert_ne!(deciphered, Ok(sequence.plaintext().clone()));
        }
    }
}
