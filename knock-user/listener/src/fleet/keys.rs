//! The keys that are derived from the fleet's key, and what is made with them.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use knockd_ipc::fleet::{ClaimId, Hex};
use knockd_types::{
    fleet::FleetKey,
    policy::{Client, Secret},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The length of a message authentication code.
pub(super) const MAC_LEN: usize = 32;

/// The first bytes of a digest that stands for a name.
pub(super) type Tag = [u8; 8];

/// What stands for the `name` of a door, a client or a node. The lists of two nodes may differ in
/// order, so a number cannot.
pub(super) fn tag(name: &str) -> Tag {
    let digest = Sha256::digest(name.as_bytes());
    std::array::from_fn(|index| digest[index])
}

/// The keys of a fleet. `Debug` does not show them.
pub(super) struct Keys {
    id: Zeroizing<[u8; 32]>,
    record: Zeroizing<[u8; 32]>,
    beat: Zeroizing<[u8; 32]>,
    client: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    pub(super) fn new(fleet: &FleetKey) -> Self {
        let derive = Hkdf::<Sha256>::new(None, fleet.expose());
        let key = |purpose: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            // HKDF gives up to 8160 bytes (RFC 5869, section 2.3).
            let is_long_enough = derive.expand(purpose, &mut *key).is_ok();
            assert!(is_long_enough);
            key
        };
        Self {
            id: key(b"knockd fleet 1 claim"),
            record: key(b"knockd fleet 1 record"),
            beat: key(b"knockd fleet 1 beat"),
            client: key(b"knockd fleet 1 client"),
        }
    }

    /// The identity of the claim of what `block` stands for. Only who has the key can tell which knock
    /// it is.
    pub(super) fn claim_id(&self, kind: u8, block: &[u8; 16]) -> ClaimId {
        Hex(first_16(mac(&self.id, &[&[kind], block])))
    }

    pub(super) fn sign_record(&self, content: &[u8]) -> [u8; MAC_LEN] {
        mac(&self.record, &[content]).finalize().into_bytes().into()
    }

    pub(super) fn has_signed_record(&self, content: &[u8], code: &[u8]) -> bool {
        mac(&self.record, &[content]).verify_slice(code).is_ok()
    }

    pub(super) fn sign_beat(&self, node: &str, text: &str) -> Hex<MAC_LEN> {
        let beat = mac(&self.beat, &[&tag(node), text.as_bytes()]);
        Hex(beat.finalize().into_bytes().into())
    }

    pub(super) fn has_signed_beat(&self, node: &str, text: &str, code: &Hex<MAC_LEN>) -> bool {
        let beat = mac(&self.beat, &[&tag(node), text.as_bytes()]);
        beat.verify_slice(&code.0).is_ok()
    }

    /// What stands for a client's key in a revocation. A client of the same name with another key is
    /// not revoked. Of a classic client it stands for the name.
    pub(super) fn fingerprint(&self, client: &Client) -> [u8; 16] {
        let key: &[u8] = match &client.secret {
            Secret::Pair(peer) => &peer.public.0,
            Secret::Classic(_) => &[],
        };
        first_16(mac(&self.client, &[&tag(&client.name), key]))
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Hmac<Sha256> {
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!());
    for part in parts {
        mac.update(part);
    }
    mac
}

fn first_16(mac: Hmac<Sha256>) -> [u8; 16] {
    let code = mac.finalize().into_bytes();
    std::array::from_fn(|index| code[index])
}
