//! The gate: which new connections and datagrams may reach a protected port.
//!
//! The daemon writes leases, and the XDP program checks every packet against them. Both use
//! the types in this module. Leases are in the map `LEASES`, which outlives the daemon.

use core::num::NonZeroU64;

use crate::address::Address;

/// The version of the pinned objects: the layouts of [`LeaseKey`] and [`Lease`], and the map.
/// A daemon takes over a predecessor's leases only if they have this version.
pub const LAYOUT_VERSION: u32 = 1;

/// The maximum number of different prefix lengths of leases, for IPv4 and for IPv6. Each costs one
/// map lookup.
pub const MAX_PREFIX_LENS: usize = 4;

/// The maximum number of trusted networks: the size of the map `TRUSTED`.
pub const MAX_TRUSTED: u32 = 1024;

/// The prefix length of a single address, also of an IPv4 address in IPv4-mapped form.
pub const HOST: u8 = 128;

/// What the gate does with packets that it refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It drops them silently.
    #[default]
    Enforce,
    /// It counts, logs and passes them.
    Observe,
}

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Connections. A lease is needed only to open one.
    Tcp,
    /// Datagrams. Each one needs a lease.
    Udp,
}

impl Transport {
    /// The protocol number in IANA's registry "Assigned Internet Protocol Numbers".
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// The position of a port in the bitmap `PROTECTED`: the array index and the bit of the element.
#[must_use]
#[inline(always)]
pub const fn protected_bit(transport: Transport, port: u16) -> (u32, u64) {
    let first = match transport {
        Transport::Tcp => 0,
        Transport::Udp => PROTECTED_LEN / 2,
    };
    (
        first + port as u32 / u64::BITS,
        1 << (port as u32 % u64::BITS),
    )
}

/// The number of elements of the map `PROTECTED`: one bit for each TCP and each UDP port.
pub const PROTECTED_LEN: u32 = 2 * (1 << 16) / u64::BITS;

/// The key of the map `LEASES`: which source may reach which port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseKey {
    /// An address or a prefix. All bits after the prefix are zero.
    pub source: Address,
    /// The destination port.
    pub port: u16,
    /// The protocol number: [`Transport::number`].
    pub protocol: u8,
    /// The number of significant bits of `source`, which is IPv4-mapped for IPv4.
    pub prefix_len: u8,
}

impl LeaseKey {
    /// The key of a lease for the prefix of `source` that is `prefix_len` bits long.
    #[must_use]
    #[inline(always)]
    pub const fn new(source: Address, prefix_len: u8, transport: Transport, port: u16) -> Self {
        Self {
            source: source.masked(prefix_len),
            port,
            protocol: transport.number(),
            prefix_len,
        }
    }
}

/// The value of the map `LEASES`: how long a source is admitted.
///
/// Times are nanoseconds of `CLOCK_BOOTTIME`, which cannot be set and includes the time that
/// the machine is suspended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When the lease expires, unless datagrams extend it. Only the daemon writes this field.
    pub expires_ns: u64,
    /// When the last datagram arrived; 0 before the first one, and always for TCP. Only the XDP
    /// program writes this field. If the map entry is reused between its lookup and its write,
    /// a stray value cannot extend a TCP lease.
    pub seen_ns: u64,
}

impl Lease {
    /// When the lease ends, in nanoseconds of `CLOCK_BOOTTIME`. For UDP, `idle_ns` is the longest
    /// gap between datagrams that keeps a lease alive; for TCP it is `None`.
    #[must_use]
    #[inline(always)]
    pub const fn ends_at(&self, idle_ns: Option<NonZeroU64>) -> u64 {
        let Some(idle_ns) = idle_ns else {
            return self.expires_ns;
        };
        let active = if self.seen_ns == 0 {
            0
        } else {
            self.seen_ns.saturating_add(idle_ns.get())
        };
        if active > self.expires_ns {
            active
        } else {
            self.expires_ns
        }
    }

    /// Whether the lease is valid at `now`.
    #[must_use]
    #[inline(always)]
    pub const fn holds(&self, now: u64, idle_ns: Option<NonZeroU64>) -> bool {
        now < self.ends_at(idle_ns)
    }
}

/// The set of prefix lengths of IPv4 or IPv6 leases: at most [`MAX_PREFIX_LENS`] different ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixLens([u8; MAX_PREFIX_LENS]);

impl PrefixLens {
    /// The set of the lengths in `lens`. Returns `None` if a length is not from 1 to [`HOST`] or
    /// if there are more than [`MAX_PREFIX_LENS`] different ones.
    #[must_use]
    pub fn new(lens: impl IntoIterator<Item = u8>) -> Option<Self> {
        let mut all = Self::default();
        for len in lens {
            if len == 0 || len > HOST {
                return None;
            }
            let place = all
                .0
                .iter_mut()
                .find(|place| **place == len || **place == 0)?;
            *place = len;
        }
        Some(all)
    }

    /// The lengths. Unused elements are zero and come last.
    #[must_use]
    pub const fn as_array(&self) -> [u8; MAX_PREFIX_LENS] {
        self.0
    }
}

const _: () = {
    assert!(size_of::<LeaseKey>() == 20);
    assert!(core::mem::offset_of!(LeaseKey, port) == 16);
    assert!(core::mem::offset_of!(LeaseKey, protocol) == 18);
    assert!(core::mem::offset_of!(LeaseKey, prefix_len) == 19);
    assert!(size_of::<Lease>() == 16);
};

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, `Copy`, only integers and arrays of integers, no padding (asserted above).
unsafe impl aya::Pod for LeaseKey {}

#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for Lease {}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    const IDLE: Option<NonZeroU64> = NonZeroU64::new(100);

    #[test]
    fn a_lease_ends_on_the_nanosecond() {
        let lease = Lease {
            expires_ns: 1000,
            seen_ns: 0,
        };
        assert!(lease.holds(999, None) && lease.holds(999, IDLE));
        assert!(!lease.holds(1000, None) && !lease.holds(1000, IDLE));
    }

    #[test]
    fn datagrams_keep_a_lease_going_and_connections_do_not() {
        let lease = Lease {
            expires_ns: 1000,
            seen_ns: 950,
        };
        assert!(lease.holds(1049, IDLE));
        assert!(!lease.holds(1050, IDLE));
        assert!(!lease.holds(1000, None));
        let early = Lease {
            seen_ns: 10,
            ..lease
        };
        assert_eq!(early.ends_at(IDLE), 1000, "never shorter than it was given");
    }

    /// The clock begins at zero when the machine boots.
    #[test]
    fn soon_after_a_boot_an_unused_lease_ends_all_the_same() {
        let lease = Lease {
            expires_ns: 10,
            seen_ns: 0,
        };
        assert_eq!(lease.ends_at(IDLE), 10);
        assert!(!lease.holds(50, IDLE));
    }

    #[test]
    fn every_port_has_a_bit_of_its_own() {
        let mut seen = HashSet::new();
        for transport in [Transport::Tcp, Transport::Udp] {
            for port in 0..=u16::MAX {
                let (index, bit) = protected_bit(transport, port);
                assert!(index < PROTECTED_LEN && bit.count_ones() == 1);
                assert!(seen.insert((index, bit)));
            }
        }
    }

    #[test]
    fn a_lease_is_for_one_port_of_one_transport() {
        let key =
            |transport, port| LeaseKey::new(Address::v4([192, 0, 2, 7]), HOST, transport, port);
        let tcp = key(Transport::Tcp, 53);
        assert_eq!((tcp.protocol, tcp.port, tcp.prefix_len), (6, 53, HOST));
        assert_eq!(key(Transport::Udp, 53).protocol, 17);
        assert_ne!(tcp, key(Transport::Udp, 53));
        assert_ne!(tcp, key(Transport::Tcp, 54));
    }

    #[test]
    fn prefix_lengths_are_few() {
        let lens = PrefixLens::new([128, 64, 128, 56, 64]).unwrap();
        assert_eq!(lens.as_array(), [128, 64, 56, 0]);
        assert!(PrefixLens::new([1, 2, 3, 4]).is_some());
        assert_eq!(PrefixLens::new([1, 2, 3, 4, 5]), None);
        assert_eq!(PrefixLens::new([0]), None);
        assert_eq!(PrefixLens::new([129]), None);
    }

    proptest! {
        #[test]
        fn an_address_is_in_the_prefix_that_it_is_masked_to(
            address: [u8; 16],
            other: [u8; 16],
            len in 1..=HOST,
        ) {
            let key = |source| LeaseKey::new(Address::v6(source), len, Transport::Udp, 51820);
            let prefix = u128::from_be_bytes(address) >> (HOST - len);
            let same = prefix == u128::from_be_bytes(other) >> (HOST - len);
            prop_assert_eq!(key(address) == key(other), same);
            prop_assert_eq!(key(address), key(key(address).source.octets()));
            let zeros = Ipv6Addr::from(key(address).source.octets()).to_bits().trailing_zeros();
            prop_assert!(zeros >= u32::from(HOST - len));
        }
    }
}
