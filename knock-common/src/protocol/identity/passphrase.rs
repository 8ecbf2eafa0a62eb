//! Derives a client's private key from a passphrase (docs/protocol.md, "Identities").

use alloc::vec::Vec;
use core::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::{KEY_LEN, PrivateKey, PublicKey};

/// The beginning of the salt. The server's public key and the client's name follow.
const SALT_PREFIX: &[u8] = b"knock2-passphrase:";

const PARAMS: Params = match Params::new(19_456, 2, 1, Some(KEY_LEN)) {
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

impl PrivateKey {
    /// Derives the key of `client` at `server` from `passphrase` with Argon2id. The passphrase's
    /// bytes are used unchanged. The salt contains the server's public key and the client's name,
    /// so that a passphrase yields another key at another server and for another client.
    ///
    /// Takes 19 MiB and tens of milliseconds by design: call it once, at startup.
    ///
    /// # Errors
    ///
    /// Returns [`DerivationError`] if memory is short or an argument is 4 GiB or longer.
    pub fn from_passphrase(
        passphrase: &[u8],
        server: &PublicKey,
        client: &str,
    ) -> Result<Self, DerivationError> {
        let mut salt = Vec::new();
        salt.try_reserve_exact(SALT_PREFIX.len() + KEY_LEN + client.len())
            .map_err(|_| DerivationError::OutOfMemory)?;
        salt.extend_from_slice(SALT_PREFIX);
        salt.extend_from_slice(&server.0);
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

    fn derive(passphrase: &str, server: u8, client: &str) -> PrivateKey {
        let server = PublicKey([server; KEY_LEN]);
        PrivateKey::from_passphrase(passphrase.as_bytes(), &server, client).unwrap()
    }

    #[test]
    fn passphrase_server_and_name_all_make_the_key() {
        let key = derive("correct horse", 1, "laptop");
        assert_eq!(derive("correct horse", 1, "laptop"), key);
        assert_ne!(derive("correct horse", 1, "tablet"), key);
        assert_ne!(derive("correct horse", 2, "laptop"), key);
        assert_ne!(derive("correct horse\n", 1, "laptop"), key);
    }
}
