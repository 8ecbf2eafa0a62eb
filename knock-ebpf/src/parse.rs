//! Parses a frame up to its transport header.
//!
//! The cheapest check comes first, so that unrelated traffic leaves early: EtherType, transport
//! protocol, and only then the consistency of the packet. Checksums are not verified; the host's
//! stack does that.

use knock_common::{address::Address, counters::Outcome, gate::Transport, settings::Settings};

use crate::{
    body::Body,
    headers::{
        AUTHENTICATION, DESTINATION_OPTIONS, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6,
        ETHER_TYPE_SERVICE_VLAN, ETHER_TYPE_VLAN, Ethernet, Extension, FRAGMENT, FragmentExtension,
        HOP_BY_HOP, HOST_IDENTITY, Ipv4, Ipv6, MOBILITY, PROTOCOL_TCP, PROTOCOL_UDP, Ports,
        ROUTING, SHIM6, Tcp, Udp, VlanTag,
    },
    packet::{Cursor, Truncated},
};

/// The maximum number of VLAN tags: a customer tag inside a provider tag (802.1ad).
const MAX_VLAN_TAGS: usize = 2;

/// The maximum number of IPv6 extension headers before a transport header. RFC 8200 defines six,
/// each used once except one that may occur twice. The verifier requires a bound.
const MAX_EXTENSIONS: usize = 8;

/// The loopback interface: `LOOPBACK_IFINDEX` of include/net/net_namespace.h in the kernel.
const LOOPBACK: u32 = 1;

/// A packet that the program must check further.
#[derive(Clone, Copy)]
pub(crate) enum Carried {
    Segment(Segment),
    Datagram(Datagram),
}

/// Any other frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// Neither part of a knock nor to a protected port.
    Harmless(Outcome),
    /// The host might find a transport header where this program does not.
    Unclear(Outcome),
}

impl From<Truncated> for Other {
    #[inline(always)]
    fn from(_: Truncated) -> Self {
        Self::Unclear(Outcome::Malformed)
    }
}

/// The IP header, IPv4 or IPv6.
#[derive(Clone, Copy)]
pub(crate) enum Ip {
    V4(&'static Ipv4),
    V6(&'static Ipv6),
}

impl Ip {
    /// The source address. `None` for an IPv6 packet with an IPv4-mapped source: the address would
    /// be mistaken for an IPv4 one, and Linux drops such packets (`ip6_rcv_core`).
    #[inline(always)]
    pub(crate) fn source(&self) -> Option<Address> {
        match self {
            Self::V4(ip) => Some(Address::v4(ip.source)),
            Self::V6(ip) => {
                let source = Address::v6(ip.source);
                source.as_v4().is_none().then_some(source)
            }
        }
    }

    /// Whether no other host can have sent the packet from `source`: a door would open for it, or a
    /// command would get it. On the loopback interface there are such packets.
    #[inline(always)]
    pub(crate) fn is_martian(&self, source: Address, ifindex: u32) -> bool {
        ifindex != LOOPBACK && (source.is_martian() || source == self.destination())
    }

    /// The destination address.
    #[inline(always)]
    pub(crate) fn destination(&self) -> Address {
        match self {
            Self::V4(ip) => Address::v4(ip.destination),
            Self::V6(ip) => Address::v6(ip.destination),
        }
    }

    /// The length that the header declares, in bytes: of the whole packet for IPv4, of what
    /// follows the header for IPv6.
    #[inline(always)]
    fn declared(&self) -> usize {
        match self {
            Self::V4(ip) => ip.total_len(),
            Self::V6(ip) => ip.payload_len(),
        }
    }
}

/// A TCP segment to the window, or one that may open a connection if any TCP port is protected.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) ip: Ip,
    pub(crate) tcp: &'static Tcp,
    /// The offset of the destination port in the window; `None` if it is outside.
    pub(crate) offset: Option<u8>,
    /// The number of bytes before the TCP header that [`Ip::declared`] includes.
    before: usize,
    /// The number of bytes from the TCP header to the end of the first buffer.
    available: usize,
}

impl Segment {
    /// Whether the host would accept the segment: it is as long as declared, and its header
    /// fits. `further` returns the number of bytes of the frame in other buffers.
    #[inline(always)]
    pub(crate) fn is_consistent(&self, further: impl Fn() -> usize) -> bool {
        let header_len = self.tcp.header_len();
        let Some(len) = self.ip.declared().checked_sub(self.before) else {
            return false;
        };
        header_len >= size_of::<Tcp>()
            && header_len <= len
            && (len <= self.available || len - self.available <= further())
    }
}

/// A UDP datagram, or the first fragment of one.
#[derive(Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) ip: Ip,
    // Not the header: the verifier would tell apart all places where it may be.
    pub(crate) ports: Ports,
    /// The payload, if the datagram may be a knock: a whole datagram to the port of knocks with the
    /// length of one. `None` also if the payload is not in the first buffer; no driver splits so short
    /// a datagram.
    pub(crate) body: Option<&'static Body>,
}

/// Parses the Ethernet frame at `cursor`. A datagram matters only if any UDP port is protected or
/// there are knock datagrams, and a segment outside the window only if any TCP port is protected.
/// `is_elsewhere` tells whether a packet is for another host, from its IP header and its protocol.
#[inline(always)]
pub(crate) fn frame(
    mut cursor: Cursor,
    settings: &Settings,
    is_elsewhere: impl Fn(Ip, u8) -> bool,
) -> Result<Carried, Other> {
    let mut ether_type = cursor.take::<Ethernet>()?.ether_type();
    for _ in 0..MAX_VLAN_TAGS {
        if !is_vlan(ether_type) {
            break;
        }
        ether_type = cursor.take::<VlanTag>()?.ether_type();
    }
    packet(cursor, ether_type, settings, is_elsewhere)
}

/// Parses the packet of the protocol `ether_type` at `cursor`, like [`frame`].
#[inline(always)]
pub(crate) fn packet(
    cursor: Cursor,
    ether_type: u16,
    settings: &Settings,
    is_elsewhere: impl Fn(Ip, u8) -> bool,
) -> Result<Carried, Other> {
    match ether_type {
        ETHER_TYPE_IPV4 => ipv4(cursor, settings, is_elsewhere),
        ETHER_TYPE_IPV6 => ipv6(cursor, settings, is_elsewhere),
        tag if is_vlan(tag) => Err(Other::Unclear(Outcome::TooDeep)),
        _ => Err(Other::Harmless(Outcome::NotIp)),
    }
}

#[inline(always)]
fn is_vlan(ether_type: u16) -> bool {
    ether_type == ETHER_TYPE_VLAN || ether_type == ETHER_TYPE_SERVICE_VLAN
}

#[inline(always)]
fn ipv4(
    mut cursor: Cursor,
    settings: &Settings,
    is_elsewhere: impl Fn(Ip, u8) -> bool,
) -> Result<Carried, Other> {
    let ip = cursor.take::<Ipv4>()?;
    let protocol = ip.protocol;
    if !is_followed(protocol, settings) {
        return Err(Other::Harmless(Outcome::NotTcp));
    }
    let header_len = ip.header_len();
    if !ip.is_consistent() {
        return Err(malformed(protocol, settings));
    }
    let carrier = Ip::V4(ip);
    let is_fragment = ip.is_fragment();
    if is_fragment {
        fragment(
            carrier,
            protocol,
            ip.is_later_fragment(),
            settings,
            is_elsewhere,
        )?;
    }
    if cursor.skip(header_len - size_of::<Ipv4>()).is_err() {
        return Err(malformed(protocol, settings));
    }
    transport(cursor, carrier, protocol, header_len, is_fragment, settings)
}

#[inline(always)]
fn ipv6(
    mut cursor: Cursor,
    settings: &Settings,
    is_elsewhere: impl Fn(Ip, u8) -> bool,
) -> Result<Carried, Other> {
    let ip = cursor.take::<Ipv6>()?;
    if ip.version() != 6 {
        return Err(Other::Unclear(Outcome::Malformed));
    }
    let carrier = Ip::V6(ip);
    let mut header = ip.next_header;
    let mut before = 0;
    let mut is_routed = false;
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(header) {
            break;
        }
        is_routed |= header == ROUTING;
        let extension = cursor.take::<Extension>()?;
        let extension_len = extension.header_len(header);
        cursor.skip(extension_len - size_of::<Extension>())?;
        before += extension_len;
        header = extension.next_header;
    }
    // An atomic fragment (RFC 6946) counts as a fragment: clients do not send them.
    let is_fragment = header == FRAGMENT;
    if is_fragment {
        let extension = cursor.take::<FragmentExtension>()?;
        header = extension.next_header;
        let is_later = extension.is_later_fragment();
        fragment(carrier, header, is_later, settings, &is_elsewhere)?;
        before += size_of::<FragmentExtension>();
    }
    if is_followed(header, settings) {
        return transport(cursor, carrier, header, before, is_fragment, settings);
    }
    Err(if is_extension(header) {
        // The kernel follows more headers, and its routing may have rules for the port behind them: what it
        // says without the port is not certain.
        Other::Unclear(Outcome::TooDeep)
    } else if is_routed && is_packet(header) {
        // A segment of the host (RFC 8986) may unpack it, and nothing sees what is inside.
        unclear(carrier, header, Outcome::NotTcp, settings, is_elsewhere)
    } else {
        Other::Harmless(Outcome::NotTcp)
    })
}

/// A packet of `protocol` for this host that is unclear. Only a gate needs to know whether it is for this
/// host.
#[inline(always)]
fn unclear(
    ip: Ip,
    protocol: u8,
    outcome: Outcome,
    settings: &Settings,
    is_elsewhere: impl Fn(Ip, u8) -> bool,
) -> Other {
    if settings.has_gate() && is_elsewhere(ip, protocol) {
        Other::Harmless(Outcome::Forwarded)
    } else {
        Other::Unclear(outcome)
    }
}

/// Whether packets of `protocol` need to be parsed further.
#[inline(always)]
fn is_followed(protocol: u8, settings: &Settings) -> bool {
    protocol == PROTOCOL_TCP
        || protocol == PROTOCOL_UDP && (settings.guards(Transport::Udp) || settings.has_datagrams())
}

/// Whether a header is followed by another packet or frame: IPv4, IPv6 or Ethernet.
#[inline(always)]
fn is_packet(header: u8) -> bool {
    matches!(header, 4 | 41 | 143)
}

/// A packet of `protocol` that is truncated or inconsistent. A datagram can hide nothing from the gate
/// if no UDP port is protected.
#[inline(always)]
fn malformed(protocol: u8, settings: &Settings) -> Other {
    if protocol == PROTOCOL_UDP && !settings.guards(Transport::Udp) {
        Other::Harmless(Outcome::Malformed)
    } else {
        Other::Unclear(Outcome::Malformed)
    }
}

/// Accepts only the first fragment of a datagram when a UDP port is protected: the first
/// fragment always contains the ports.
///
/// Later fragments have no ports. They are harmless, because the host cannot reassemble a
/// datagram without its first fragment, and Linux since 4.19 drops a datagram whose fragments
/// overlap. A fragmented TCP segment is unclear as a whole: its flags may be in a later fragment
/// (RFC 1858).
#[inline(always)]
fn fragment(
    ip: Ip,
    protocol: u8,
    is_later: bool,
    settings: &Settings,
    is_elsewhere: impl Fn(Ip, u8) -> bool,
) -> Result<(), Other> {
    let is_harmless = match protocol {
        PROTOCOL_TCP => !settings.guards(Transport::Tcp),
        PROTOCOL_UDP if settings.guards(Transport::Udp) && !is_later => return Ok(()),
        // There may be more headers before the transport header.
        FRAGMENT => false,
        other => !is_extension(other),
    };
    Err(if is_harmless {
        Other::Harmless(Outcome::Fragment)
    } else {
        unclear(ip, protocol, Outcome::Fragment, settings, is_elsewhere)
    })
}

#[inline(always)]
fn is_extension(header: u8) -> bool {
    matches!(
        header,
        HOP_BY_HOP
            | ROUTING
            | AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HOST_IDENTITY
            | SHIM6
    )
}

/// Parses the TCP segment or UDP datagram at `cursor`. [`Ip::declared`] includes `before` bytes before
/// it.
#[inline(always)]
fn transport(
    mut cursor: Cursor,
    ip: Ip,
    protocol: u8,
    before: usize,
    is_fragment: bool,
    settings: &Settings,
) -> Result<Carried, Other> {
    if protocol == PROTOCOL_UDP {
        let Ok(udp) = cursor.take::<Udp>() else {
            return Err(malformed(protocol, settings));
        };
        let len = ip.declared().checked_sub(before);
        let body = if !is_fragment && has_knock_form(udp, len, settings) {
            cursor.take().ok()
        } else {
            None
        };
        return Ok(Carried::Datagram(Datagram {
            ip,
            ports: udp.ports(),
            body,
        }));
    }
    let available = cursor.remaining();
    let tcp = cursor.take::<Tcp>()?;
    let offset = settings.offset_of(tcp.destination_port());
    let may_be_guarded = settings.guards(Transport::Tcp) && tcp.may_open_connection();
    if offset.is_none() && !may_be_guarded {
        return Err(Other::Harmless(Outcome::OutsideWindow));
    }
    Ok(Carried::Segment(Segment {
        ip,
        tcp,
        offset,
        before,
        available,
    }))
}

/// Whether a datagram with this header may be a knock. `len` is its length according to the IP
/// header, in bytes.
#[inline(always)]
fn has_knock_form(udp: &Udp, len: Option<usize>, settings: &Settings) -> bool {
    const KNOCK_LEN: usize = size_of::<Udp>() + size_of::<Body>();
    settings.is_for_datagrams(udp.destination_port())
        && udp.len() == KNOCK_LEN
        && len == Some(KNOCK_LEN)
}

#[cfg(test)]
// `tests/fuzz` includes this file, and then a path is relative to it.
#[path = "parse/tests.rs"]
mod tests;
