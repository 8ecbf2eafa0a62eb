//! The source address that a request is valid for.

use core::net::IpAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::SynKey;

/// The source address that a SYN knock must come from (docs/protocol.md, "Plaintext").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// Any source, for clients that cannot know their address. A door with `require_binding`
    /// refuses such requests.
    Unbound,
    /// Only the source with this tag.
    Bound(SourceTag),
}

/// A source address under the key of a client and a server: the first four bytes of its
/// HMAC-SHA-256 under `K_bind`.
///
/// Never zero, because zero means [`Binding::Unbound`] on the wire: a digest of zero becomes
/// `00000001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceTag([u8; 4]);

impl SourceTag {
    /// The tag of `source` under `key`. An IPv4-mapped IPv6 address has the tag of the IPv4
    /// address.
    #[must_use]
    pub fn of(source: IpAddr, key: &SynKey) -> Self {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.bind()) else {
            unreachable!("HMAC takes keys of any length")
        };
        match source.to_canonical() {
            IpAddr::V4(address) => {
                mac.update(&[4]);
                mac.update(&address.octets());
            }
            IpAddr::V6(address) => {
                mac.update(&[6]);
                mac.update(&address.octets());
            }
        }
        let digest = mac.finalize().into_bytes();
        Self::from_digest([digest[0], digest[1], digest[2], digest[3]])
    }

    fn from_digest(digest: [u8; 4]) -> Self {
        Self(if digest == [0; 4] {
            [0, 0, 0, 1]
        } else {
            digest
        })
    }
}

impl Binding {
    /// A binding to `source` under `key`.
    #[must_use]
    pub fn to(source: IpAddr, key: &SynKey) -> Self {
        Self::Bound(SourceTag::of(source, key))
    }

    /// Whether a request with this binding, which `key` has deciphered, is valid for packets from
    /// `source`.
    #[must_use]
    pub fn allows(self, source: IpAddr, key: &SynKey) -> bool {
        match self {
            Self::Unbound => true,
            Self::Bound(tag) => SourceTag::of(source, key).0.ct_eq(&tag.0).into(),
        }
    }

    /// Whether the request is bound to one source, which `require_binding` demands.
    #[must_use]
    pub const fn is_bound(self) -> bool {
        matches!(self, Self::Bound(_))
    }

    pub(super) const fn to_bytes(self) -> [u8; 4] {
        match self {
            Self::Unbound => [0; 4],
            Self::Bound(SourceTag(tag)) => tag,
        }
    }

    pub(super) fn from_bytes(bytes: [u8; 4]) -> Self {
        if bytes == [0; 4] {
            Self::Unbound
        } else {
            Self::Bound(SourceTag(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::syn::{SYN_SECRET_LEN, SynSecret};

    fn key(byte: u8) -> SynKey {
        SynKey::new(&SynSecret::new([byte; SYN_SECRET_LEN]))
    }

    #[test]
    fn zero_is_unbound_and_nothing_else() {
        assert_eq!(Binding::from_bytes([0; 4]), Binding::Unbound);
        assert_eq!(Binding::Unbound.to_bytes(), [0; 4]);
        assert!(!Binding::Unbound.is_bound());
    }

    #[test]
    fn a_digest_of_zeros_is_replaced() {
        // No address with such a digest is known.
        let tag = Binding::Bound(SourceTag::from_digest([0; 4]));
        assert_eq!(tag.to_bytes(), [0, 0, 0, 1]);
        assert_eq!(SourceTag::from_digest([0, 0, 0, 1]).0, [0, 0, 0, 1]);
    }

    proptest! {
        #[test]
        fn every_four_bytes_are_a_binding(bytes: [u8; 4]) {
            let binding = Binding::from_bytes(bytes);
            prop_assert_eq!(binding.to_bytes(), bytes);
            prop_assert_eq!(binding.is_bound(), bytes != [0; 4]);
        }

        // The tags of two addresses, or of two keys, are the same for one pair in 2^32.
        #[test]
        fn an_address_has_one_tag_for_each_key(source: u32, other: u32) {
            let (source, other) = (Ipv4Addr::from_bits(source), Ipv4Addr::from_bits(other));
            let binding = Binding::to(source.into(), &key(1));
            prop_assert!(binding.allows(source.into(), &key(1)));
            prop_assert!(binding.allows(source.to_ipv6_mapped().into(), &key(1)));
            prop_assert_eq!(Binding::to(source.to_ipv6_mapped().into(), &key(1)), binding);
            prop_assert_eq!(binding.allows(other.into(), &key(1)), source == other);
            prop_assert!(!binding.allows(source.into(), &key(2)));
        }

        #[test]
        fn an_ipv6_address_has_a_tag(source: u128, other: u128) {
            let (source, other) = (Ipv6Addr::from_bits(source), Ipv6Addr::from_bits(other));
            prop_assume!(source.to_ipv4_mapped().is_none());
            let binding = Binding::to(source.into(), &key(1));
            prop_assert!(binding.allows(source.into(), &key(1)));
            prop_assert_eq!(binding.allows(other.into(), &key(1)), source == other);
            prop_assert!(!binding.allows(source.into(), &key(2)));
        }

        #[test]
        fn unbound_allows_every_source(v4: u32, v6: u128) {
            prop_assert!(Binding::Unbound.allows(Ipv4Addr::from_bits(v4).into(), &key(1)));
            prop_assert!(Binding::Unbound.allows(Ipv6Addr::from_bits(v6).into(), &key(1)));
        }
    }
}
