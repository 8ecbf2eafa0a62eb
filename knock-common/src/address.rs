//! A packet's source address, in the form that the XDP program compares, hashes and reports.

use core::net::{IpAddr, Ipv6Addr};

/// An IPv6 address; an IPv4 address is stored as IPv4-mapped (RFC 4291, section 2.5.5.2).
///
/// The 16 bytes are in network byte order, but stored as four words: LLVM's BPF backend copies
/// byte arrays one byte at a time, and a map key that was written that way is slow to hash.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address([u32; 4]);

/// The first 12 bytes of an IPv4-mapped address.
const MAPPED: [u32; 3] = [0, 0, 0xffff_u32.to_be()];

impl Address {
    /// The IPv4 address with these bytes.
    #[must_use]
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self([MAPPED[0], MAPPED[1], MAPPED[2], u32::from_ne_bytes(octets)])
    }

    /// The IPv6 address with these bytes.
    #[must_use]
    #[inline(always)]
    pub const fn v6(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self([
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
            u32::from_ne_bytes([i, j, k, l]),
            u32::from_ne_bytes([m, n, o, p]),
        ])
    }

    /// All 16 bytes, in network byte order.
    #[must_use]
    #[inline(always)]
    pub const fn octets(self) -> [u8; 16] {
        let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = [
            self.0[0].to_ne_bytes(),
            self.0[1].to_ne_bytes(),
            self.0[2].to_ne_bytes(),
            self.0[3].to_ne_bytes(),
        ];
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The IPv4 address that is mapped; `None` if this is not an IPv4-mapped address.
    #[must_use]
    #[inline(always)]
    pub const fn as_v4(self) -> Option<[u8; 4]> {
        let [a, b, c, last] = self.0;
        if a == MAPPED[0] && b == MAPPED[1] && c == MAPPED[2] {
            Some(last.to_ne_bytes())
        } else {
            None
        }
    }

    /// Whether no other host can have this address (RFC 6890): a loopback or multicast address,
    /// one of the blocks 0.0.0.0/8 and 240.0.0.0/4, or the unspecified one.
    #[must_use]
    #[inline(always)]
    pub const fn is_martian(self) -> bool {
        if let Some([first, ..]) = self.as_v4() {
            return first == 0 || first == 127 || first >= 224;
        }
        let [a, b, c, d] = self.0;
        let is_multicast = a.to_ne_bytes()[0] == 0xff;
        // `::` and `::1`.
        let is_special = a == 0 && b == 0 && c == 0 && (d == 0 || d == 1_u32.to_be());
        is_multicast || is_special
    }

    /// The address with all bits after the first `prefix_len` set to zero.
    #[must_use]
    #[inline(always)]
    pub const fn masked(self, prefix_len: u8) -> Self {
        let [a, b, c, d] = self.0;
        Self([
            a & first_bits(prefix_len),
            b & first_bits(prefix_len.saturating_sub(32)),
            c & first_bits(prefix_len.saturating_sub(64)),
            d & first_bits(prefix_len.saturating_sub(96)),
        ])
    }
}

/// An address word with its first `count` bits set; all 32 bits are set from 32 on.
#[inline(always)]
const fn first_bits(count: u8) -> u32 {
    let bits = if count >= 32 {
        u32::MAX
    } else {
        !(u32::MAX >> count)
    };
    bits.to_be()
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::v4(address.octets()),
            IpAddr::V6(address) => Self::v6(address.octets()),
        }
    }
}

/// Converts an IPv4-mapped address to an IPv4 address, and any other to an IPv6 address.
impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        Ipv6Addr::from(address.octets()).to_canonical()
    }
}

const _: () = assert!(size_of::<Address>() == 16 && align_of::<Address>() == 4);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::gate::HOST;

    #[test]
    fn an_address_that_no_other_host_has_is_a_martian() {
        let is_martian = |text: &str| Address::from(text.parse::<IpAddr>().unwrap()).is_martian();
        for martian in [
            "0.0.0.0",
            "0.255.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
            "ffff::",
        ] {
            assert!(is_martian(martian), "{martian}");
        }
        for host in [
            "1.0.0.0",
            "10.0.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "192.0.2.1",
            "223.255.255.255",
            "::2",
            "::1:0",
            "1::",
            "1::1",
            "2001:db8::1",
            "fe80::1",
            "fdff::1",
            "fe00::",
        ] {
            assert!(!is_martian(host), "{host}");
        }
    }

    proptest! {
        #[test]
        fn an_address_is_its_bytes(octets: [u8; 16], v4: [u8; 4]) {
            let address = Address::v6(octets);
            prop_assert_eq!(address.octets(), octets);
            prop_assert_eq!(IpAddr::from(address), Ipv6Addr::from(octets).to_canonical());
            prop_assert_eq!(Address::from(IpAddr::from(octets)), address);
            let mapped = Ipv4Addr::from(v4).to_ipv6_mapped();
            prop_assert_eq!(Address::v4(v4), Address::v6(mapped.octets()));
            prop_assert_eq!(Address::from(IpAddr::from(v4)), Address::v4(v4));
            prop_assert_eq!(Address::v4(v4).as_v4(), Some(v4));
        }

        #[test]
        fn nothing_else_is_an_ipv4_address(place in 0..12_usize, flip in 1_u8..) {
            let mut octets = Address::v4([192, 0, 2, 7]).octets();
            octets[place] ^= flip;
            prop_assert_eq!(Address::v6(octets).as_v4(), None);
        }

        #[test]
        fn a_mask_keeps_the_first_bits(octets: [u8; 16], prefix_len in 0..=HOST) {
            let kept = Address::v6(octets).masked(prefix_len).octets();
            let zeroed = u32::from(HOST - prefix_len);
            let all = u128::from_be_bytes(octets);
            let expected = all.checked_shr(zeroed).unwrap_or(0).checked_shl(zeroed).unwrap_or(0);
            prop_assert_eq!(u128::from_be_bytes(kept), expected);
        }
    }
}
