//! The key that a client and a server share for SYN knocks.

use core::fmt;

use aes::{Aes256, cipher::KeyInit as _};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::protocol::{
    block::{BadParity, Block, Plaintext, decipher, encipher},
    identity::{KEY_LEN, KeyPair, LowOrder, PublicKey},
    tile::Tile,
};

/// The length of a [`SynSecret`], in bytes.
pub const SYN_SECRET_LEN: usize = 64;

/// The salt of the key derivation.
const SALT: &[u8] = b"knock2";

/// `K_syn` and `K_bind` of one client and one server, which both derive from their own private key
/// and the other's public key (docs/protocol.md, "Identities").
///
/// The bytes are wiped when dropped, and not shown by `Debug`.
pub struct SynSecret([u8; SYN_SECRET_LEN]);

impl SynSecret {
    /// The secret with these bytes: `K_syn`, then `K_bind`. The caller must wipe its own copy.
    #[must_use]
    pub const fn new(bytes: [u8; SYN_SECRET_LEN]) -> Self {
        Self(bytes)
    }

    /// The secret that the client `own` shares with `server`.
    ///
    /// # Errors
    ///
    /// Returns [`LowOrder`] if `server` is not the public key of a key pair.
    pub fn of_client(own: &KeyPair, server: &PublicKey) -> Result<Self, LowOrder> {
        Ok(Self::derive(
            &*own.private().agree(server)?,
            &own.public(),
            server,
        ))
    }

    /// The secret that the server `own` shares with `client`.
    ///
    /// # Errors
    ///
    /// Returns [`LowOrder`] if `client` is not the public key of a key pair.
    pub fn of_server(own: &KeyPair, client: &PublicKey) -> Result<Self, LowOrder> {
        Ok(Self::derive(
            &*own.private().agree(client)?,
            client,
            &own.public(),
        ))
    }

    fn derive(shared: &[u8; KEY_LEN], client: &PublicKey, server: &PublicKey) -> Self {
        let mut input = Zeroizing::new([0; 3 * KEY_LEN]);
        input[..KEY_LEN].copy_from_slice(shared);
        input[KEY_LEN..2 * KEY_LEN].copy_from_slice(&client.0);
        input[2 * KEY_LEN..].copy_from_slice(&server.0);
        let kdf = Hkdf::<Sha256>::new(Some(SALT), input.as_slice());
        let mut secret = Self([0; SYN_SECRET_LEN]);
        let (syn, bind) = secret.0.split_at_mut(KEY_LEN);
        for (info, key) in [(b"syn".as_slice(), syn), (b"bind".as_slice(), bind)] {
            let Ok(()) = kdf.expand(info, key) else {
                unreachable!("HKDF yields up to 255 digests, and this is one")
            };
        }
        secret
    }

    /// The bytes, to be sent to the process that verifies knocks.
    #[must_use]
    pub const fn expose(&self) -> &[u8; SYN_SECRET_LEN] {
        &self.0
    }
}

impl Drop for SynSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for SynSecret {}

impl fmt::Debug for SynSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SynSecret(..)")
    }
}

/// A [`SynSecret`], ready for use: an AES-256 key schedule that is computed once. Wiped when
/// dropped; `Debug` does not show it.
#[derive(Clone)]
pub struct SynKey {
    cipher: Aes256,
    bind: Zeroizing<[u8; KEY_LEN]>,
}

impl SynKey {
    /// Computes the key schedule of `secret`.
    #[must_use]
    pub fn new(secret: &SynSecret) -> Self {
        let (syn, bind) = secret.0.split_at(KEY_LEN);
        let mut key = Zeroizing::new([0; KEY_LEN]);
        key.copy_from_slice(syn);
        let cipher = Aes256::new((&*key).into());
        key.copy_from_slice(bind);
        Self { cipher, bind: key }
    }

    /// Enciphers one block.
    #[must_use]
    pub fn encipher(&self, plaintext: &Plaintext) -> Block {
        encipher(&self.cipher, plaintext)
    }

    /// Deciphers one block.
    ///
    /// # Errors
    ///
    /// Returns [`BadParity`] if the parity is wrong. A block that was enciphered under another
    /// key passes with a probability of 1/256.
    pub fn decipher(&self, block: &Block) -> Result<Plaintext, BadParity> {
        decipher(&self.cipher, block)
    }

    /// Calls `found` for each block in `tile` with valid parity, with its place and its plaintext. A
    /// block that was enciphered under another key has it with a probability of 1/256.
    pub fn decipher_all(&self, tile: &mut Tile, found: impl FnMut(usize, Plaintext)) {
        tile.decipher(&self.cipher, found);
    }

    /// `K_bind`.
    pub(super) fn bind(&self) -> &[u8; KEY_LEN] {
        &self.bind
    }
}

impl From<&SynSecret> for SynKey {
    fn from(secret: &SynSecret) -> Self {
        Self::new(secret)
    }
}

impl ZeroizeOnDrop for SynKey {}

impl fmt::Debug for SynKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SynKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{block::BODY_LEN, identity::PrivateKey};

    #[test]
    fn debug_shows_nothing() {
        let secret = SynSecret::new([65; SYN_SECRET_LEN]);
        assert_eq!(format!("{secret:?}"), "SynSecret(..)");
        assert_eq!(format!("{:?}", SynKey::new(&secret)), "SynKey(..)");
    }

    #[test]
    fn schedules_are_wiped_when_dropped() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<Aes256>();
    }

    fn pair(byte: u8) -> KeyPair {
        KeyPair::from(PrivateKey::new([byte; KEY_LEN]))
    }

    #[test]
    fn client_and_server_derive_the_same() {
        let (client, server) = (pair(1), pair(2));
        let of_client = SynSecret::of_client(&client, &server.public()).unwrap();
        let of_server = SynSecret::of_server(&server, &client.public()).unwrap();
        assert_eq!(of_client.expose(), of_server.expose());
        // The roles matter: the secret with exchanged roles is another one.
        let exchanged = SynSecret::of_client(&server, &client.public()).unwrap();
        assert_ne!(exchanged.expose(), of_client.expose());
        let elsewhere = SynSecret::of_client(&client, &pair(3).public()).unwrap();
        assert_ne!(elsewhere.expose(), of_client.expose());
    }

    #[test]
    fn a_public_key_of_low_order_is_refused() {
        let zero = PublicKey([0; KEY_LEN]);
        assert_eq!(SynSecret::of_client(&pair(1), &zero).err(), Some(LowOrder));
        assert_eq!(SynSecret::of_server(&pair(1), &zero).err(), Some(LowOrder));
    }

    proptest! {
        #[test]
        fn deciphers_what_was_enciphered(bytes: [u8; KEY_LEN], body: [u8; BODY_LEN]) {
            let mut secret = [0; SYN_SECRET_LEN];
            secret[..KEY_LEN].copy_from_slice(&bytes);
            let key = SynKey::new(&SynSecret::new(secret));
            let plaintext = Plaintext::new(&body);
            prop_assert_eq!(key.decipher(&key.encipher(&plaintext)), Ok(plaintext));
        }
    }
}
