//! The packet headers up to TCP and UDP, as laid out on the wire.

use knock_common::gate::Transport;

use crate::packet::Header;

pub(crate) const ETHER_TYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHER_TYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q.
pub(crate) const ETHER_TYPE_VLAN: u16 = 0x8100;
/// IEEE 802.1ad, the outer of two tags.
pub(crate) const ETHER_TYPE_SERVICE_VLAN: u16 = 0x88a8;

pub(crate) const PROTOCOL_TCP: u8 = Transport::Tcp.number();
pub(crate) const PROTOCOL_UDP: u8 = Transport::Udp.number();
// IPv6 extension headers, from IANA's registry "IPv6 Extension Header Types".
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const AUTHENTICATION: u8 = 51;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;
pub(crate) const MOBILITY: u8 = 135;
pub(crate) const HOST_IDENTITY: u8 = 139;
pub(crate) const SHIM6: u8 = 140;

#[repr(C, align(2))]
pub(crate) struct Ethernet {
    addresses: [u8; 12],
    ether_type: [u8; 2],
}

impl Ethernet {
    #[inline(always)]
    pub(crate) fn ether_type(&self) -> u16 {
        u16::from_be_bytes(self.ether_type)
    }
}

#[repr(C, align(2))]
pub(crate) struct VlanTag {
    control: [u8; 2],
    ether_type: [u8; 2],
}

impl VlanTag {
    #[inline(always)]
    pub(crate) fn ether_type(&self) -> u16 {
        u16::from_be_bytes(self.ether_type)
    }
}

/// The IPv4 header without options (RFC 791, section 3.1).
#[repr(C, align(2))]
pub(crate) struct Ipv4 {
    version_ihl: u8,
    pub(crate) service: u8,
    total_len: [u8; 2],
    identification: [u8; 2],
    fragment: [u8; 2],
    ttl: u8,
    pub(crate) protocol: u8,
    checksum: [u8; 2],
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

impl Ipv4 {
    /// Whether the version is 4 and the header length at least that of a header without options.
    #[inline(always)]
    pub(crate) fn is_consistent(&self) -> bool {
        matches!(self.version_ihl, 0x45..=0x4f)
    }

    /// The length of the header with its options, in bytes: at most 60.
    #[inline(always)]
    pub(crate) fn header_len(&self) -> usize {
        ((self.version_ihl & 0x0f) as usize) * 4
    }

    /// The length of header and payload, in bytes.
    #[inline(always)]
    pub(crate) fn total_len(&self) -> usize {
        u16::from_be_bytes(self.total_len) as usize
    }

    /// Whether this is a fragment: more fragments follow, or the offset is not zero.
    #[inline(always)]
    pub(crate) fn is_fragment(&self) -> bool {
        const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;
        u16::from_be_bytes(self.fragment) & MORE_FRAGMENTS_AND_OFFSET != 0
    }

    /// Whether this is a fragment other than the first, which has no transport header.
    #[inline(always)]
    pub(crate) fn is_later_fragment(&self) -> bool {
        const OFFSET: u16 = 0x1fff;
        u16::from_be_bytes(self.fragment) & OFFSET != 0
    }
}

/// The IPv6 header (RFC 8200, section 3).
#[repr(C, align(2))]
pub(crate) struct Ipv6 {
    version_class_flow: [u8; 4],
    payload_len: [u8; 2],
    pub(crate) next_header: u8,
    hop_limit: u8,
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
}

impl Ipv6 {
    #[inline(always)]
    pub(crate) fn version(&self) -> u8 {
        self.version_class_flow[0] >> 4
    }

    /// The length of everything after this header, in bytes.
    #[inline(always)]
    pub(crate) fn payload_len(&self) -> usize {
        u16::from_be_bytes(self.payload_len) as usize
    }

    /// Traffic class and flow label, in network byte order.
    #[inline(always)]
    pub(crate) fn flow_info(&self) -> u32 {
        const VERSION: u8 = 0xf0;
        let [first, rest @ ..] = self.version_class_flow;
        let [a, b, c] = rest;
        u32::from_ne_bytes([first & !VERSION, a, b, c])
    }
}

/// The first eight bytes, common to all supported extension headers (RFC 6564, section 4).
#[repr(C, align(2))]
pub(crate) struct Extension {
    pub(crate) next_header: u8,
    len: u8,
    data: [u8; 6],
}

impl Extension {
    /// The length of the whole extension header in bytes, if its type is `header`.
    #[inline(always)]
    pub(crate) fn header_len(&self, header: u8) -> usize {
        if header == AUTHENTICATION {
            // RFC 4302, section 2.2: in units of four bytes, minus two units.
            (self.len as usize + 2) * 4
        } else {
            // RFC 8200, section 4: in units of eight bytes, without the first unit.
            (self.len as usize + 1) * 8
        }
    }
}

/// The IPv6 Fragment header (RFC 8200, section 4.5).
#[repr(C, align(2))]
pub(crate) struct FragmentExtension {
    pub(crate) next_header: u8,
    reserved: u8,
    fragment: [u8; 2],
    identification: [u8; 4],
}

impl FragmentExtension {
    /// Whether this is a fragment other than the first, which has no transport header.
    #[inline(always)]
    pub(crate) fn is_later_fragment(&self) -> bool {
        const OFFSET: u16 = 0xfff8;
        u16::from_be_bytes(self.fragment) & OFFSET != 0
    }
}

/// The ports of a packet; zero if it has none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ports {
    pub(crate) source: u16,
    pub(crate) destination: u16,
}

/// The UDP header (RFC 768).
#[repr(C, align(2))]
pub(crate) struct Udp {
    source_port: [u8; 2],
    destination_port: [u8; 2],
    len: [u8; 2],
    checksum: [u8; 2],
}

impl Udp {
    #[inline(always)]
    pub(crate) fn ports(&self) -> Ports {
        Ports {
            source: u16::from_be_bytes(self.source_port),
            destination: self.destination_port(),
        }
    }

    #[inline(always)]
    pub(crate) fn destination_port(&self) -> u16 {
        u16::from_be_bytes(self.destination_port)
    }

    /// The length of header and payload, in bytes.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        u16::from_be_bytes(self.len) as usize
    }
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The TCP header without options (RFC 9293, section 3.1).
#[repr(C, align(2))]
pub(crate) struct Tcp {
    source_port: [u8; 2],
    destination_port: [u8; 2],
    sequence: [u8; 4],
    acknowledgment: [u8; 4],
    data_offset: u8,
    flags: u8,
    window: [u8; 2],
    checksum: [u8; 2],
    urgent: [u8; 2],
}

impl Tcp {
    #[inline(always)]
    pub(crate) fn ports(&self) -> Ports {
        Ports {
            source: self.source_port(),
            destination: self.destination_port(),
        }
    }

    #[inline(always)]
    pub(crate) fn source_port(&self) -> u16 {
        u16::from_be_bytes(self.source_port)
    }

    #[inline(always)]
    pub(crate) fn destination_port(&self) -> u16 {
        u16::from_be_bytes(self.destination_port)
    }

    /// The length of the header with its options, in bytes: at most 60.
    #[inline(always)]
    pub(crate) fn header_len(&self) -> usize {
        ((self.data_offset >> 4) as usize) * 4
    }

    /// SYN set; ACK, RST and FIN clear. Other flags, such as ECE and CWR, do not matter
    /// (docs/protocol.md, "On the wire").
    #[inline(always)]
    pub(crate) fn is_knock(&self) -> bool {
        self.flags & (FIN | SYN | RST | ACK) == SYN
    }

    /// SYN set and ACK clear, whatever else is set: every segment that a listening socket could
    /// accept as a new connection (RFC 9293, section 3.10.7.2).
    #[inline(always)]
    pub(crate) fn may_open_connection(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }
}

// SAFETY: only `u8` and arrays of it, alignment 2: every bit pattern is valid.
unsafe impl Header for Ethernet {}
// SAFETY: as above.
unsafe impl Header for VlanTag {}
// SAFETY: as above.
unsafe impl Header for Ipv4 {}
// SAFETY: as above.
unsafe impl Header for Ipv6 {}
// SAFETY: as above.
unsafe impl Header for Extension {}
// SAFETY: as above.
unsafe impl Header for FragmentExtension {}
// SAFETY: as above.
unsafe impl Header for Udp {}
// SAFETY: as above.
unsafe impl Header for Tcp {}

const _: () = {
    assert!(size_of::<Ethernet>() == 14);
    assert!(size_of::<VlanTag>() == 4);
    assert!(size_of::<Ipv4>() == 20);
    assert!(size_of::<Ipv6>() == 40);
    assert!(size_of::<Extension>() == 8);
    assert!(size_of::<FragmentExtension>() == 8);
    assert!(size_of::<Udp>() == 8);
    assert!(size_of::<Tcp>() == 20);
};
