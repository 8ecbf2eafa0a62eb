//! A sealed client's key from a passphrase (README.md, "Sealed").

use alloc::vec::Vec;
use core::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::{SECRET_KEY_LEN, SecretKey};

/// What stands before the client's name in the salt. Its 16 bytes already are a salt, so
/// that even a client without a name has one.
const SALT_PREFIX: &[u8] = b"knock-sealed-v1:";

const PARAMS: Params = match Params::new(19_456, 2, 1, Some(SECRET_KEY_LEN)) {
    Ok(params) => params,
    Err(_) => panic!("README.md's parameters are out of Argon2's range"),
};

/// Why no key could be derived. None of these shows the passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DerivationError {
    /// There is no memory for the 19 MiB that it takes.
    OutOfMemory,
    /// The passphrase or the client's name has 4 GiB or more.
    TooLong,
}

impl fmt::Display for DerivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "there is no memory for the 19 MiB that deriving a key takes",
            Self::TooLong => "the passphrase or the client's name is too long",
        })
    }
}

impl core::error::Error for DerivationError {}

impl SecretKey {
    /// The key of the client called `client` under `passphrase`, whose bytes are taken as
    /// they are: Argon2id, salted with the name, so that two clients with one passphrase have
    /// two keys.
    ///
    /// This takes 19 MiB and some tens of milliseconds, on purpose: do it once, at start.
    ///
    /// # Errors
    ///
    /// [`DerivationError`] if memory is short or an argument absurdly long.
    pub fn from_passphrase(passphrase: &[u8], client: &str) -> Result<Self, DerivationError> {
        let mut salt = Vec::new();
        salt.try_reserve_exact(SALT_PREFIX.len() + client.len())
            .map_err(|_| DerivationError::OutOfMemory)?;
        salt.extend_from_slice(SALT_PREFIX);
        salt.extend_from_slice(client.as_bytes());

        // Ours, not the library's, which would not wipe what the key was made from.
        let mut memory = Zeroizing::new(Vec::new());
        memory
            .try_reserve_exact(PARAMS.block_count())
            .map_err(|_| DerivationError::OutOfMemory)?;
        memory.resize(PARAMS.block_count(), Block::new());

        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS);
        Self::try_fill(|key| {
            argon2
                .hash_password_into_with_memory(passphrase, &salt, key, memory.as_mut_slice())
                .map_err(|_| DerivationError::TooLong)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derive(passphrase: &str, client: &str) -> SecretKey {
        SecretKey::from_passphrase(passphrase.as_bytes(), client).unwrap()
    }

    #[test]
    fn passphrase_and_name_both_make_the_key() {
        let key = derive("correct horse", "laptop");
        assert_eq!(derive("correct horse", "laptop"), key);
        assert_ne!(derive("correct horse", "tablet"), key);
        assert_ne!(derive("correct horse\n", "laptop"), key);
    }

    #[test]
    fn an_empty_name_is_salted_too() {
        assert_ne!(derive("correct horse", ""), derive("battery staple", ""));
    }
}
