//! The events that the XDP program sends to the daemon: one for each SYN to the window, one for each
//! knock datagram.

use core::net::IpAddr;

use crate::{address::Address, datagram::DATAGRAM_LEN};

/// The size of the ring buffer: 2 MiB hold 43,000 events. That is 100 ms of a flood of 400,000
/// SYNs per second, for which a busy daemon may not read the ring buffer.
pub const RING_BYTES: u32 = 2 * 1024 * 1024;

/// The size of the ring buffer of datagrams: 1 MiB holds 5,700 events. That is 50 ms of a flood of
/// 100,000 different datagrams per second, from so many sources that none exceeds its rate. Each of
/// them needs a `mac1` of its own or a forged source, so that it is harder to send than a SYN.
pub const DATAGRAM_RING_BYTES: u32 = 1024 * 1024;

/// One SYN to a port of the window, as stored in the ring buffer.
///
/// Host byte order. 32 bytes without implicit padding, so that no kernel memory leaks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnockEvent {
    /// When the packet arrived, in nanoseconds of `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`).
    pub arrival_ns: u64,
    /// The packet's source address.
    pub source: Address,
    /// The index of the interface that received the packet.
    pub ifindex: u32,
    /// The TCP source port.
    pub source_port: u16,
    /// The offset of the destination port in the window.
    pub offset: u8,
    /// Always zero.
    pub reserved: u8,
}

impl KnockEvent {
    /// The size of an event in the ring buffer, in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// Decodes a ring buffer entry; returns `None` if its length is not [`KnockEvent::LEN`].
    #[must_use]
    pub fn from_bytes(entry: &[u8]) -> Option<Self> {
        let entry: &[u8; Self::LEN] = entry.try_into().ok()?;
        let (arrival_ns, rest) = entry.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk()?;
        let (ifindex, rest) = rest.split_first_chunk()?;
        let (source_port, rest) = rest.split_first_chunk()?;
        let &[offset, reserved] = rest else {
            return None;
        };
        Some(Self {
            arrival_ns: u64::from_ne_bytes(*arrival_ns),
            source: Address::v6(*source),
            ifindex: u32::from_ne_bytes(*ifindex),
            source_port: u16::from_ne_bytes(*source_port),
            offset,
            reserved,
        })
    }

    /// The source address; an IPv4-mapped address is returned as IPv4.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.source.into()
    }
}

/// One knock datagram, as stored in the ring buffer of datagrams.
///
/// Host byte order. 176 bytes without implicit padding, so that no kernel memory leaks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramEvent {
    /// When the packet arrived, in nanoseconds of `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`).
    pub arrival_ns: u64,
    /// The packet's source address.
    pub source: Address,
    /// The index of the interface that received the packet.
    pub ifindex: u32,
    /// The UDP source port.
    pub source_port: u16,
    /// Always zero.
    pub reserved: [u8; 2],
    /// The payload. Its `mac1` is right.
    pub bytes: [u8; DATAGRAM_LEN],
}

impl DatagramEvent {
    /// The size of an event in the ring buffer, in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// Decodes a ring buffer entry; returns `None` if its length is not [`DatagramEvent::LEN`].
    #[must_use]
    pub fn from_bytes(entry: &[u8]) -> Option<Self> {
        let entry: &[u8; Self::LEN] = entry.try_into().ok()?;
        let (arrival_ns, rest) = entry.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk()?;
        let (ifindex, rest) = rest.split_first_chunk()?;
        let (source_port, rest) = rest.split_first_chunk()?;
        let (reserved, bytes) = rest.split_first_chunk()?;
        Some(Self {
            arrival_ns: u64::from_ne_bytes(*arrival_ns),
            source: Address::v6(*source),
            ifindex: u32::from_ne_bytes(*ifindex),
            source_port: u16::from_ne_bytes(*source_port),
            reserved: *reserved,
            bytes: bytes.try_into().ok()?,
        })
    }

    /// The source address; an IPv4-mapped address is returned as IPv4.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.source.into()
    }
}

// The layout is an ABI: the XDP program and the daemon are compiled separately.
const _: () = {
    assert!(KnockEvent::LEN == 32);
    assert!(align_of::<KnockEvent>() == 8);
    assert!(core::mem::offset_of!(KnockEvent, arrival_ns) == 0);
    assert!(core::mem::offset_of!(KnockEvent, source) == 8);
    assert!(core::mem::offset_of!(KnockEvent, ifindex) == 24);
    assert!(core::mem::offset_of!(KnockEvent, source_port) == 28);
    assert!(core::mem::offset_of!(KnockEvent, offset) == 30);
    assert!(core::mem::offset_of!(KnockEvent, reserved) == 31);

    assert!(DatagramEvent::LEN == 176);
    assert!(align_of::<DatagramEvent>() == 8);
    assert!(core::mem::offset_of!(DatagramEvent, arrival_ns) == 0);
    assert!(core::mem::offset_of!(DatagramEvent, source) == 8);
    assert!(core::mem::offset_of!(DatagramEvent, ifindex) == 24);
    assert!(core::mem::offset_of!(DatagramEvent, source_port) == 28);
    assert!(core::mem::offset_of!(DatagramEvent, reserved) == 30);
    // A multiple of 8: the program writes the bytes as words.
    assert!(core::mem::offset_of!(DatagramEvent, bytes) == 32);
};

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn decodes_what_the_kernel_writes() {
        let mut entry = [0; KnockEvent::LEN];
        entry[..8].copy_from_slice(&7_u64.to_ne_bytes());
        entry[8..24].copy_from_slice(&Address::v4([192, 0, 2, 7]).octets());
        entry[24..28].copy_from_slice(&3_u32.to_ne_bytes());
        entry[28..30].copy_from_slice(&40000_u16.to_ne_bytes());
        entry[30] = 255;
        let event = KnockEvent::from_bytes(&entry).unwrap();
        assert_eq!(
            event,
            KnockEvent {
                arrival_ns: 7,
                source: Address::v4([192, 0, 2, 7]),
                ifindex: 3,
                source_port: 40000,
                offset: 255,
                reserved: 0,
            }
        );
        assert_eq!(event.source(), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
    }

    #[test]
    fn decodes_a_datagram() {
        let mut entry = [0; DatagramEvent::LEN];
        entry[..8].copy_from_slice(&7_u64.to_ne_bytes());
        entry[8..24].copy_from_slice(&Address::v4([192, 0, 2, 7]).octets());
        entry[24..28].copy_from_slice(&3_u32.to_ne_bytes());
        entry[28..30].copy_from_slice(&40000_u16.to_ne_bytes());
        let bytes = core::array::from_fn(|at| u8::try_from(at).unwrap());
        entry[32..].copy_from_slice(&bytes);
        let event = DatagramEvent::from_bytes(&entry).unwrap();
        assert_eq!(
            event,
            DatagramEvent {
                arrival_ns: 7,
                source: Address::v4([192, 0, 2, 7]),
                ifindex: 3,
                source_port: 40000,
                reserved: [0; 2],
                bytes,
            }
        );
        assert_eq!(event.source(), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
    }

    #[test]
    fn refuses_another_length() {
        assert_eq!(KnockEvent::from_bytes(&[0; 31]), None);
        assert_eq!(KnockEvent::from_bytes(&[0; 33]), None);
        assert_eq!(DatagramEvent::from_bytes(&[0; 175]), None);
        assert_eq!(DatagramEvent::from_bytes(&[0; 177]), None);
    }
}
