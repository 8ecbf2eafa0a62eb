//! The record of a claim: what happened at a node, for every node.
//!
//! ```text
//! byte  0        version: 1
//!       1        kind
//!       2        0 or 1: the door opens everywhere
//!       3        zero
//!       4..8     lease in seconds
//!       8..16    when the node accepted it, in Unix milliseconds
//!      16..24    when the knock was made, in Unix milliseconds; 0 if it is not single-use
//!      24..32    tag of the door; zero for every door
//!      32..40    tag of the client; zero for the administrator
//!      40..56    source address, IPv4 as IPv4-mapped IPv6
//!      56..72    address that the knock came from, in the same form
//!      72..88    what is claimed: the identity of the knock, random bytes, or a fingerprint
//!      88..96    tag of the node
//!      96..128   HMAC-SHA256 of the bytes before
//! ```
//!
//! Little-endian. The engine sees all of it but can make none of it.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use knockd_ipc::fleet::{ClaimId, Hex, RECORD_LEN, Record};
use knockd_types::names::{MAX_LEASE, is_unicast};

use super::keys::{Keys, MAC_LEN, Tag};

const VERSION: u8 = 1;

/// The length of what is authenticated.
const CONTENT_LEN: usize = RECORD_LEN - MAC_LEN;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A knock opens a door.
    Open = 1,
    /// A knock closes a door.
    Withdraw = 2,
    /// The administrator closes the doors of an address.
    Close = 3,
    /// The administrator revokes the key of a client.
    Revoke = 4,
}

/// The content of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) kind: Kind,
    pub(super) everywhere: bool,
    /// In whole seconds.
    pub(super) lease: Duration,
    pub(super) accepted_at: u64,
    pub(super) made_at: u64,
    pub(super) door: Tag,
    pub(super) client: Tag,
    pub(super) source: IpAddr,
    pub(super) sender: IpAddr,
    pub(super) block: [u8; 16],
    pub(super) node: Tag,
}

impl Claim {
    /// The identity, under which the engine accepts one claim.
    pub(super) fn id(&self, keys: &Keys) -> ClaimId {
        keys.claim_id(self.kind as u8, &self.block)
    }

    /// The end of the lease, in Unix milliseconds.
    pub(super) fn until(&self) -> u64 {
        let lease = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        self.accepted_at.saturating_add(lease)
    }

    /// The authenticated record.
    pub(super) fn record(&self, keys: &Keys) -> Record {
        let mut bytes = [0; RECORD_LEN];
        bytes[0] = VERSION;
        bytes[1] = self.kind as u8;
        bytes[2] = self.everywhere.into();
        let seconds = u32::try_from(self.lease.as_secs()).unwrap_or(u32::MAX);
        bytes[4..8].copy_from_slice(&seconds.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.accepted_at.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.made_at.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.door);
        bytes[32..40].copy_from_slice(&self.client);
        bytes[40..56].copy_from_slice(&octets(self.source));
        bytes[56..72].copy_from_slice(&octets(self.sender));
        bytes[72..88].copy_from_slice(&self.block);
        bytes[88..96].copy_from_slice(&self.node);
        let code = keys.sign_record(&bytes[..CONTENT_LEN]);
        bytes[CONTENT_LEN..].copy_from_slice(&code);
        Hex(bytes)
    }

    /// The claim in `record`, if a node of the fleet has made it for this identity.
    pub(super) fn read(keys: &Keys, id: ClaimId, record: &Record) -> Option<Self> {
        let (content, code) = record.0.split_at(CONTENT_LEN);
        if !keys.has_signed_record(content, code) {
            return None;
        }
        let claim = Self::decode(content)?;
        (claim.id(keys) == id).then_some(claim)
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let kind = match content[1] {
            1 => Kind::Open,
            2 => Kind::Withdraw,
            3 => Kind::Close,
            4 => Kind::Revoke,
            _ => return None,
        };
        let lease = Duration::from_secs(u32::from_le_bytes(field(content, 4)).into());
        let is_host = |address| kind == Kind::Revoke || is_unicast(address);
        let (source, sender) = (host(field(content, 40)), host(field(content, 56)));
        let is_valid = content[0] == VERSION
            && content[2] <= 1
            && content[3] == 0
            && lease <= MAX_LEASE
            && is_host(source)
            && is_host(sender);
        is_valid.then(|| Self {
            kind,
            everywhere: content[2] == 1,
            lease,
            accepted_at: u64::from_le_bytes(field(content, 8)),
            made_at: u64::from_le_bytes(field(content, 16)),
            door: field(content, 24),
            client: field(content, 32),
            source,
            sender,
            block: field(content, 72),
            node: field(content, 88),
        })
    }
}

fn field<const N: usize>(content: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| content[at + index])
}

fn host(octets: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(octets).to_canonical()
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use knockd_types::fleet::FleetKey;
    use proptest::prelude::*;

    use super::*;

    fn keys(byte: u8) -> Keys {
        Keys::new(&FleetKey::new([byte; 32].into()))
    }

    fn claims() -> impl Strategy<Value = Claim> {
        let kind = prop_oneof![
            Just(Kind::Open),
            Just(Kind::Withdraw),
            Just(Kind::Close),
            Just(Kind::Revoke)
        ];
        let address = any::<IpAddr>()
            .prop_map(|address| address.to_canonical())
            .prop_filter("no host", |address| is_unicast(*address));
        let times = (any::<u64>(), any::<u64>(), 0..=MAX_LEASE.as_secs());
        let tags = any::<[Tag; 3]>();
        (
            kind,
            any::<bool>(),
            times,
            tags,
            [address.clone(), address],
            any::<[u8; 16]>(),
        )
            .prop_map(
                |(kind, everywhere, times, [door, client, node], [source, sender], block)| Claim {
                    kind,
                    everywhere,
                    lease: Duration::from_secs(times.2),
                    accepted_at: times.0,
                    made_at: times.1,
                    door,
                    client,
                    source,
                    sender,
                    block,
                    node,
                },
            )
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_made(claim in claims()) {
            let keys = keys(1);
            let (id, record) = (claim.id(&keys), claim.record(&keys));
            prop_assert_eq!(Claim::read(&keys, id, &record), Some(claim));
        }

        #[test]
        fn a_changed_record_is_none(claim in claims(), at in 0..RECORD_LEN, bit in 0..8_u32) {
            let keys = keys(1);
            let mut record = claim.record(&keys);
            record.0[at] ^= 1 << bit;
            prop_assert_eq!(Claim::read(&keys, claim.id(&keys), &record), None);
        }

        #[test]
        fn a_record_of_another_fleet_or_identity_is_none(claim in claims(), other: [u8; 16]) {
            let (ours, others) = (keys(1), keys(2));
            let record = claim.record(&others);
            prop_assert_eq!(Claim::read(&ours, claim.id(&ours), &record), None);
            prop_assert_eq!(Claim::read(&ours, claim.id(&others), &record), None);
            let record = claim.record(&ours);
            prop_assert_eq!(Claim::read(&ours, Hex(other), &record), None);
        }

        #[test]
        fn an_authentic_record_with_any_content_is_one_claim_or_none(content: [u8; CONTENT_LEN]) {
            let keys = keys(1);
            let mut bytes = [0; RECORD_LEN];
            bytes[..CONTENT_LEN].copy_from_slice(&content);
            bytes[0] = VERSION;
            bytes[1] %= 6;
            bytes[2] %= 3;
            bytes[3] = 0;
            let code = keys.sign_record(&bytes[..CONTENT_LEN]);
            bytes[CONTENT_LEN..].copy_from_slice(&code);
            if let Some(claim) = Claim::decode(&bytes) {
                prop_assert_eq!(claim.record(&keys), Hex(bytes));
            }
        }
    }

    #[test]
    fn an_authentic_record_that_no_node_of_this_version_makes_is_none() {
        let address = IpAddr::from([192, 0, 2, 7]);
        let claim = |kind| Claim {
            kind,
            everywhere: true,
            lease: MAX_LEASE,
            accepted_at: 1,
            made_at: 1,
            door: [1; 8],
            client: [2; 8],
            source: address,
            sender: address,
            block: [3; 16],
            node: [4; 8],
        };
        let decode = |kind, at: usize, bytes: &[u8]| {
            let mut record = claim(kind).record(&keys(1)).0;
            record[at..at + bytes.len()].copy_from_slice(bytes);
            Claim::decode(&record[..CONTENT_LEN])
        };
        let too_long = u32::try_from(MAX_LEASE.as_secs()).unwrap() + 1;
        let [multicast, unspecified] = [[224, 0, 0, 1], [0_u8; 4]].map(|host| octets(host.into()));
        let changes: [(usize, &[u8]); 9] = [
            (0, &[0]),
            (0, &[2]),
            (1, &[0]),
            (1, &[5]),
            (2, &[2]),
            (3, &[1]),
            (4, &too_long.to_le_bytes()),
            (40, &multicast),
            (56, &unspecified),
        ];
        for kind in [Kind::Open, Kind::Withdraw, Kind::Close] {
            assert_eq!(decode(kind, 0, &[]), Some(claim(kind)));
            for (at, bytes) in changes {
                assert_eq!(decode(kind, at, bytes), None, "{at}: {bytes:?}");
            }
        }
        // It has no address.
        let revoked = decode(Kind::Revoke, 40, &[unspecified; 2].concat());
        assert_eq!(revoked.map(|claim| claim.kind), Some(Kind::Revoke));
    }

    #[test]
    fn the_same_knock_has_one_identity_and_another_kind_a_different_one() {
        let keys = keys(1);
        let block = [7; 16];
        let open = keys.claim_id(Kind::Open as u8, &block);
        assert_eq!(open, keys.claim_id(Kind::Open as u8, &block));
        assert_ne!(open, keys.claim_id(Kind::Revoke as u8, &block));
        assert!(!open.to_string().contains("0707"));
    }
}
