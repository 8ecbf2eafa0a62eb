//! What the page needs of the protocol: the key of a client for one server, and the block of a knock.

use knock_common::protocol::{
    block::BLOCK_LEN,
    door::ShortTag,
    identity::{KEY_LEN, KeyPair, PrivateKey, PublicKey},
    lease::{RequestedLease, ShortLease},
    syn::{Binding, Request, SYN_SECRET_LEN, SynKey, SynSecret, Time40},
};

/// What a knock of the page says. It is bound to no address, since a page does not know its own.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The name of the door.
    pub door: &'a str,
    /// The time, in Unix milliseconds.
    pub unix_ms: u64,
    /// The lease: 0 for the door's default, 65535 to close it now, and else the seconds.
    pub lease: u16,
    /// A random number.
    pub random: u8,
}

/// `K_syn` of `server` and the client with the private key `own` (docs/protocol.md, "Identities").
/// `None` if `server` is not the public key of a key pair.
///
/// `K_bind` is left out: whoever steals this key can make no bound knock.
#[must_use]
pub fn key(own: PrivateKey, server: [u8; KEY_LEN]) -> Option<[u8; KEY_LEN]> {
    let secret = SynSecret::of_client(&KeyPair::from(own), &PublicKey(server)).ok()?;
    secret.expose().first_chunk().copied()
}

/// The block of a knock with `content`, enciphered with what [`key`] returns.
#[must_use]
pub fn block(key: &[u8; KEY_LEN], content: &Content<'_>) -> [u8; BLOCK_LEN] {
    let mut secret = [0; SYN_SECRET_LEN];
    secret[..KEY_LEN].copy_from_slice(key);
    let request = Request {
        door: ShortTag::of(content.door),
        time: Time40::from_unix_ms(content.unix_ms),
        binding: Binding::Unbound,
        lease: lease(content.lease),
        random: content.random,
    };
    request.seal(&SynKey::new(&SynSecret::new(secret))).0
}

fn lease(number: u16) -> ShortLease {
    // The only number that is no lease stands for that.
    RequestedLease::from_seconds(number.into())
        .try_into()
        .unwrap_or(ShortLease::CLOSE)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Vec<Value> {
        let file = include_str!("../../../../knock-common/src/protocol/vectors.json");
        let vectors: Value = serde_json::from_str(file).unwrap();
        vectors["syn"].as_array().unwrap().clone()
    }

    fn bytes<const LEN: usize>(digits: &Value) -> [u8; LEN] {
        let digits = digits.as_str().unwrap();
        assert_eq!(digits.len(), 2 * LEN);
        std::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
    }

    fn number<N: TryFrom<u64, Error: std::fmt::Debug>>(value: &Value) -> N {
        N::try_from(value.as_u64().unwrap()).unwrap()
    }

    #[test]
    fn the_vectors_of_the_protocol_are_computed() {
        let mut blocks = 0;
        for vector in vectors() {
            let own = PrivateKey::new(bytes(&vector["client_private"]));
            let key = key(own, bytes(&vector["server_public"])).unwrap();
            assert_eq!(key, bytes(&vector["syn_key"]));
            if vector["source"].is_null() {
                let content = Content {
                    door: vector["door"].as_str().unwrap(),
                    unix_ms: number(&vector["unix_ms"]),
                    lease: number(&vector["lease_seconds"]),
                    random: number(&vector["random"]),
                };
                assert_eq!(block(&key, &content), bytes(&vector["block"]));
                blocks += 1;
            }
        }
        assert!(blocks > 0);
    }

    #[test]
    fn a_server_that_shares_the_same_secret_with_everybody_is_refused() {
        assert_eq!(key(PrivateKey::new([7; KEY_LEN]), [0; KEY_LEN]), None);
    }

    #[test]
    fn every_number_is_a_lease() {
        assert_eq!(lease(0), ShortLease::DOORS_DEFAULT);
        assert_eq!(lease(u16::MAX), ShortLease::CLOSE);
        let longest = RequestedLease::from_seconds(65534);
        assert_eq!(RequestedLease::from(lease(65534)), longest);
    }
}
