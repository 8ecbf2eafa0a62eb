//! The source address that a request is valid for.

use core::{fmt, net::IpAddr, num::NonZeroU32};

use sha2::{Digest as _, Sha256};

/// The source address that a sealed knock must come from (docs/protocol.md, "Sealed").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// Any source, for clients that cannot know their address. A door with `require_binding`
    /// refuses such requests.
    Unbound,
    /// Only the source with this tag.
    Bound(SourceTag),
}

/// A source address in four bytes: the IPv4 address, or the first four bytes of the SHA-256 of
/// the IPv6 address.
///
/// Never zero, because zero means [`Binding::Unbound`] on the wire: an IPv6 digest of zero
/// becomes `00000001`, and the IPv4 address `0.0.0.0` has no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceTag(NonZeroU32);

/// A request cannot be bound to `0.0.0.0`, because zero means "unbound".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnspecifiedSource;

impl fmt::Display for UnspecifiedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a knock cannot be bound to 0.0.0.0")
    }
}

impl core::error::Error for UnspecifiedSource {}

impl SourceTag {
    /// The tag of `source`; `None` for `0.0.0.0`. An IPv4-mapped IPv6 address has the tag of the
    /// IPv4 address.
    #[must_use]
    pub fn of(source: IpAddr) -> Option<Self> {
        match source.to_canonical() {
            IpAddr::V4(address) => NonZeroU32::new(address.to_bits()).map(Self),
            IpAddr::V6(address) => {
                let digest = Sha256::digest(address.octets());
                let tag = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
                Some(Self::from_digest(tag))
            }
        }
    }

    fn from_digest(digest: u32) -> Self {
        Self(NonZeroU32::new(digest).unwrap_or(NonZeroU32::MIN))
    }
}

impl Binding {
    /// A binding to `source`.
    ///
    /// # Errors
    ///
    /// Returns [`UnspecifiedSource`] for `0.0.0.0`, also in IPv4-mapped form.
    pub fn to(source: IpAddr) -> Result<Self, UnspecifiedSource> {
        SourceTag::of(source)
            .map(Self::Bound)
            .ok_or(UnspecifiedSource)
    }

    /// Whether a request with this binding is valid for packets from `source`.
    #[must_use]
    pub fn allows(self, source: IpAddr) -> bool {
        match self {
            Self::Unbound => true,
            Self::Bound(tag) => SourceTag::of(source) == Some(tag),
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
            Self::Bound(SourceTag(tag)) => tag.get().to_be_bytes(),
        }
    }

    pub(super) fn from_bytes(bytes: [u8; 4]) -> Self {
        NonZeroU32::new(u32::from_be_bytes(bytes))
            .map_or(Self::Unbound, |tag| Self::Bound(SourceTag(tag)))
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_is_unbound_and_nothing_else() {
        assert_eq!(Binding::from_bytes([0; 4]), Binding::Unbound);
        assert_eq!(Binding::Unbound.to_bytes(), [0; 4]);
        for source in ["0.0.0.0", "::ffff:0.0.0.0"] {
            let source: IpAddr = source.parse().unwrap();
            assert_eq!(Binding::to(source), Err(UnspecifiedSource));
            assert!(Binding::Unbound.allows(source));
            assert!(!Binding::Unbound.is_bound());
        }
    }

    #[test]
    fn a_digest_of_zeros_is_replaced() {
        // There is no known IPv6 address with such a digest.
        assert_eq!(SourceTag::from_digest(0), SourceTag::from_digest(1));
        let tag = Binding::Bound(SourceTag::from_digest(0));
        assert_eq!(tag.to_bytes(), [0, 0, 0, 1]);
    }

    proptest! {
        #[test]
        fn every_four_bytes_are_a_binding(bytes: [u8; 4]) {
            let binding = Binding::from_bytes(bytes);
            prop_assert_eq!(binding.to_bytes(), bytes);
            prop_assert_eq!(binding.is_bound(), bytes != [0; 4]);
        }

        #[test]
        fn an_ipv4_address_is_its_own_tag(source in 1_u32.., other: u32) {
            let (source, other) = (Ipv4Addr::from_bits(source), Ipv4Addr::from_bits(other));
            let binding = Binding::to(source.into()).unwrap();
            prop_assert_eq!(binding.to_bytes(), source.octets());
            prop_assert!(binding.allows(source.into()));
            prop_assert!(binding.allows(source.to_ipv6_mapped().into()));
            prop_assert_eq!(Binding::to(source.to_ipv6_mapped().into()), Ok(binding));
            prop_assert_eq!(binding.allows(other.into()), source == other);
        }

        #[test]
        fn an_ipv6_address_has_a_tag(source: u128, other: u128) {
            let (source, other) = (Ipv6Addr::from_bits(source), Ipv6Addr::from_bits(other));
            prop_assume!(source.to_ipv4_mapped().is_none());
            let binding = Binding::to(source.into()).unwrap();
            prop_assert!(binding.allows(source.into()));
            prop_assert_eq!(binding.allows(other.into()), source == other);
        }

        #[test]
        fn unbound_allows_every_source(v4: u32, v6: u128) {
            prop_assert!(Binding::Unbound.allows(Ipv4Addr::from_bits(v4).into()));
            prop_assert!(Binding::Unbound.allows(Ipv6Addr::from_bits(v6).into()));
        }
    }
}
