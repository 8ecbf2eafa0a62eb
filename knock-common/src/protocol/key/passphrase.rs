//! Derives a sealed client's key from a passphrase (docs/protocol.md, "Sealed").

use alloc::vec::Vec;
use core::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::{SECRET_KEY_LEN, SecretKey};

/// The salt is this prefix and the client's name. The prefix alone is 16 bytes, so the salt is
/// long enough even without a name.
const SALT_PREFIX: &[u8] = b"knock-sealed-v1:";

const PARAMS: Params = match Params::new(19_456, 2, 1, Some(SECRET_KEY_LEN)) {
    Ok(params) => params,
    Err(_) => panic!("the protocol's Argon2 parameters are out of range"),
};

/// Why a key cannot be derived. No variant contains the passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DerivationError {
    /// The 19 MiB of memory that Argon2 needs are not available.
    OutOfMemory,
    /// The passphrase or the client's name is 4 GiB or longer.
    TooLong,
}

impl fmt::Display for DerivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "deriving a key takes 19 MiB of memory, which are not available",
            Self::TooLong => "the passphrase or the client's name is too long",
        })
    }
}

impl core::error::Error for DerivationError {}

impl SecretKey {
    /// Derives the key of `client` from `passphrase` with Argon2id. The passphrase's bytes are
    /// used unchanged. The salt contains the client's name, so that two clients with the same
    /// passphrase have different keys.
    ///
    /// Takes 19 MiB and tens of milliseconds by design: call it once, at startup.
    ///
    /// # Errors
    ///
    /// Returns [`DerivationError`] if memory is short or an argument is 4 GiB or longer.
    pub fn from_passphrase(passphrase: &[u8], client: &str) -> Result<Self, DerivationError> {
        let mut salt = Vec::new();
        salt.try_reserve_exact(SALT_PREFIX.len() + client.len())
            .map_err(|_| DerivationError::OutOfMemory)?;
        salt.extend_from_slice(SALT_PREFIX);
        salt.extend_from_slice(client.as_bytes());

        // Allocated here because the library does not wipe its working memory.
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
