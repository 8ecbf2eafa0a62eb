//! The datagrams that were decrypted last.

use std::num::NonZeroUsize;

use knock_common::{datagram::DATAGRAM_LEN, protocol::datagram::replay_id};
use lru::LruCache;

use crate::auth::{Authenticator, Decrypted};

/// The number of datagrams: 1 MB. A recording that comes again costs no decryption until an attacker
/// has sent as many others, each of which needs the server's public key and a new message.
const DATAGRAMS: NonZeroUsize = match NonZeroUsize::new(8192) {
    Some(datagrams) => datagrams,
    None => panic!("it is above zero"),
};

/// The contents of the datagrams that came last, by the digest of the datagram.
#[derive(Debug)]
pub(crate) struct DecryptedDatagrams(LruCache<[u8; 16], Decrypted>);

impl DecryptedDatagrams {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(LruCache::new(DATAGRAMS))
    }

    /// The content of `datagram`, and whether it was known before.
    pub(crate) fn get(
        &mut self,
        authenticator: &Authenticator,
        datagram: &[u8; DATAGRAM_LEN],
    ) -> (Decrypted, bool) {
        let id = replay_id(datagram);
        if let Some(known) = self.0.get(&id) {
            return (*known, true);
        }
        let decrypted = authenticator.decrypt(datagram);
        self.0.put(id, decrypted);
        (decrypted, false)
    }

    /// Forgets everything: the clients have changed.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
