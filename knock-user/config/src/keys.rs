//! Derives the keys that the server shares with its clients.

use std::{
    num::NonZeroUsize,
    thread::{self, ScopedJoinHandle},
};

use knock_common::protocol::{
    identity::{KeyPair, LowOrder, PublicKey},
    syn::SynSecret,
};
use knockd_types::policy::Peer;

/// Keys that are derived by one thread: a millisecond of work or more, so that it is worth a
/// thread.
const MIN_CHUNK: usize = 64;

/// The clients with these public keys, in the same order. Each takes a multiplication on the curve,
/// some 40 µs, so many of them are shared out among all processors.
pub(crate) fn peers(server: &KeyPair, clients: &[PublicKey]) -> Vec<Result<Peer, LowOrder>> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let chunk = clients.len().div_ceil(threads).max(MIN_CHUNK);
    thread::scope(|scope| {
        let chunks = clients.chunks(chunk);
        let running: Vec<_> = chunks
            .map(|clients| {
                let thread = thread::Builder::new();
                let thread = thread.spawn_scoped(scope, || derive(server, clients));
                (clients, thread)
            })
            .collect();
        running
            .into_iter()
            .flat_map(
                |(clients, thread)| match thread.map(ScopedJoinHandle::join) {
                    Ok(Ok(peers)) => peers,
                    Ok(Err(panic)) => std::panic::resume_unwind(panic),
                    // There is no room for another thread.
                    Err(_) => derive(server, clients),
                },
            )
            .collect()
    })
}

fn derive(server: &KeyPair, clients: &[PublicKey]) -> Vec<Result<Peer, LowOrder>> {
    clients
        .iter()
        .map(|public| {
            let syn = SynSecret::of_server(server, public)?;
            Ok(Peer {
                public: *public,
                syn,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use knock_common::protocol::identity::{KEY_LEN, PrivateKey};

    use super::*;

    #[test]
    fn every_client_gets_its_own_key_in_order() {
        let server = KeyPair::from(PrivateKey::new([1; KEY_LEN]));
        let mut keys: Vec<_> = (0..200_u8)
            .map(|byte| PrivateKey::new([byte; KEY_LEN]).public())
            .collect();
        keys[100] = PublicKey([0; KEY_LEN]);
        let peers = peers(&server, &keys);
        assert_eq!(peers.len(), keys.len());
        for (peer, key) in peers.iter().zip(&keys) {
            match peer {
                Ok(peer) => {
                    let alone = SynSecret::of_server(&server, key).unwrap();
                    assert_eq!(peer.syn.expose(), alone.expose());
                    assert_eq!(peer.public, *key);
                }
                Err(LowOrder) => assert_eq!(*key, keys[100]),
            }
        }
        assert!(peers[100].is_err());
        assert!(self::peers(&server, &[]).is_empty());
    }
}
