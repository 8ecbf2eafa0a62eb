//! A reference classifier, written from docs/protocol.md, docs/gate.md and the RFCs as plainly as
//! possible: byte offsets only, without parsers. It is slow and obvious, to check the program
//! against it. The frames are those of the loopback interface, on which no source is impossible.
//!
//! If several outcomes fit a packet, the first failing check decides, in this order: link and
//! network layer can be followed to TCP, or to UDP if a UDP port is protected; the destination port
//! is in the window, and then: it is a SYN, the lengths are consistent, the source address is
//! valid; the datagram is a knock; the port is protected, and then: the source is admitted.

use std::{
    hash::Hasher as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use ipnet::IpNet;
use knock_common::{counters::Outcome, gate::Transport};
use knockd_types::rules::Port;
use siphasher::sip::SipHasher24;

/// The expected result for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Knock {
        source: Ipv6Addr,
        source_port: u16,
        offset: u8,
    },
    Datagram {
        source: Ipv6Addr,
        source_port: u16,
        bytes: [u8; 144],
    },
    Other(Outcome),
}

impl Expected {
    /// The outcome that is counted.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Knock { .. } => Outcome::Knock,
            Self::Datagram { .. } => Outcome::Datagram,
            Self::Other(outcome) => outcome,
        }
    }
}

/// The configuration of the program.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// First port of the window.
    pub(crate) base: u16,
    /// Protected ports; without any there is no gate.
    pub(crate) protected: Vec<Port>,
    /// Leases that have not expired.
    pub(crate) leases: Vec<(IpNet, Port)>,
    pub(crate) trusted: Vec<IpNet>,
    /// The port of knock datagrams, and the key of their `mac1`.
    pub(crate) datagram: Option<(u16, [u8; 16])>,
}

impl Policy {
    /// A window and no gate.
    pub(crate) fn window(base: u16) -> Self {
        Self {
            base,
            protected: Vec::new(),
            leases: Vec::new(),
            trusted: Vec::new(),
            datagram: None,
        }
    }

    fn protects(&self, transport: Transport) -> bool {
        self.protected
            .iter()
            .any(|port| port.transport == transport)
    }

    /// The outcome of a packet that the program cannot follow. With a gate it is unclear, because
    /// it may hide a connection attempt.
    fn unclear(&self, outcome: Outcome) -> Expected {
        Expected::Other(if self.protected.is_empty() {
            outcome
        } else {
            Outcome::GateUnclear
        })
    }

    /// The outcome of a truncated or inconsistent packet of this protocol. A datagram hides nothing
    /// if no UDP port is protected.
    fn malformed(&self, protocol: u8) -> Expected {
        if protocol == 17 && !self.protects(Transport::Udp) {
            Expected::Other(Outcome::Malformed)
        } else {
            self.unclear(Outcome::Malformed)
        }
    }

    /// The outcome for a connection attempt from `source` to `port`.
    fn admit(&self, source: IpAddr, port: Port) -> Expected {
        let leased =
            |(network, leased): &(IpNet, Port)| *leased == port && network.contains(&source);
        Expected::Other(if is_ipv4_mapped(source) {
            Outcome::GateRefused
        } else if self.leases.iter().any(leased) {
            Outcome::GateLeased
        } else if self.trusted.iter().any(|network| network.contains(&source)) {
            Outcome::GateTrusted
        } else {
            Outcome::GateRefused
        })
    }
}

/// The expected result for `frame` with the configuration `policy`.
pub(crate) fn classify(frame: &[u8], policy: &Policy) -> Expected {
    // A field beyond the end of the frame means that the packet is truncated.
    link(frame, policy).unwrap_or_else(|| policy.unclear(Outcome::Malformed))
}

fn link(frame: &[u8], policy: &Policy) -> Option<Expected> {
    // Two MAC addresses of six bytes, then the EtherType.
    let mut at = 12;
    let mut tags = 0;
    // IEEE 802.1Q and 802.1ad: EtherType, two bytes of tag, next EtherType.
    while u16_at(frame, at)? == 0x8100 || u16_at(frame, at)? == 0x88a8 {
        tags += 1;
        if tags > 2 {
            return Some(policy.unclear(Outcome::TooDeep));
        }
        at += 4;
    }
    match u16_at(frame, at)? {
        0x0800 => ipv4(frame, at + 2, policy),
        0x86dd => ipv6(frame, at + 2, policy),
        _ => Some(Expected::Other(Outcome::NotIp)),
    }
}

/// RFC 791, section 3.1.
fn ipv4(frame: &[u8], at: usize, policy: &Policy) -> Option<Expected> {
    let header = frame.get(at..at + 20)?;
    let protocol = header[9];
    if !has_ports(protocol, policy) {
        return Some(Expected::Other(Outcome::NotTcp));
    }
    let version = header[0] / 16;
    let header_len = usize::from(header[0] % 16) * 4;
    let total_len = usize::from(u16_at(header, 2)?);
    if version != 4 || header_len < 20 {
        return Some(policy.malformed(protocol));
    }
    // A reserved bit, "don't fragment", "more fragments", then the offset.
    let more_fragments = header[6] & 0b0010_0000 != 0;
    let fragment_offset = u16_at(header, 6)? % 8192;
    let is_fragment = more_fragments || fragment_offset != 0;
    if is_fragment && let Some(expected) = fragment(protocol, fragment_offset, policy) {
        return Some(expected);
    }
    let source: [u8; 4] = header[12..16].try_into().unwrap();
    let packet = Packet {
        frame,
        place: at + header_len..at + total_len,
        source: Ipv4Addr::from(source).into(),
        is_fragment,
    };
    Some(packet.classify(protocol, policy))
}

/// RFC 8200, sections 3 and 4.
fn ipv6(frame: &[u8], at: usize, policy: &Policy) -> Option<Expected> {
    let header = frame.get(at..at + 40)?;
    if header[0] / 16 != 6 {
        return Some(policy.unclear(Outcome::Malformed));
    }
    let source: [u8; 16] = header[8..24].try_into().unwrap();
    let source = Ipv6Addr::from(source).into();
    let end = at + 40 + usize::from(u16_at(header, 4)?);

    let mut next = header[6];
    let mut at = at + 40;
    let mut extensions = 0;
    let mut is_routed = false;
    while is_extension(next) {
        extensions += 1;
        is_routed |= next == 43;
        if extensions > 8 {
            return Some(policy.unclear(Outcome::TooDeep));
        }
        let units = usize::from(*frame.get(at + 1)?);
        let len = if next == 51 {
            // RFC 4302, section 2.2: length in units of four bytes, minus two.
            (units + 2) * 4
        } else {
            8 + units * 8
        };
        next = frame.get(at..at + len)?[0];
        at += len;
    }
    let is_fragment = next == 44;
    if is_fragment {
        let header = frame.get(at..at + 8)?;
        next = header[0];
        // The lowest three bits are not part of the offset.
        if let Some(expected) = fragment(next, u16_at(header, 2)? / 8, policy) {
            return Some(expected);
        }
        at += 8;
    }
    // RFC 8986: a segment may unpack an IPv4 or IPv6 packet, or an Ethernet frame.
    if is_routed && [4, 41, 143].contains(&next) {
        return Some(policy.unclear(Outcome::NotTcp));
    }
    let packet = Packet {
        frame,
        place: at..end,
        source,
        is_fragment,
    };
    Some(packet.classify(next, policy))
}

/// Hop-by-hop, routing, authentication, destination, mobility, HIP, Shim6.
fn is_extension(header: u8) -> bool {
    [0, 43, 51, 60, 135, 139, 140].contains(&header)
}

/// TCP always, because of the window, and UDP if a UDP port is protected or one takes knocks.
fn has_ports(protocol: u8, policy: &Policy) -> bool {
    let udp = policy.protects(Transport::Udp) || policy.datagram.is_some();
    protocol == 6 || protocol == 17 && udp
}

/// The outcome of a fragment, or `None` if it contains the ports of a datagram, which decide.
fn fragment(protocol: u8, offset: u16, policy: &Policy) -> Option<Expected> {
    let hides = match protocol {
        6 => policy.protects(Transport::Tcp),
        17 if policy.protects(Transport::Udp) && offset == 0 => return None,
        // The protocol behind a further header, even a fragment header, is unknown.
        44 => true,
        other => is_extension(other),
    };
    Some(if hides {
        policy.unclear(Outcome::Fragment)
    } else {
        Expected::Other(Outcome::Fragment)
    })
}

/// An IP packet behind its headers.
struct Packet<'a> {
    frame: &'a [u8],
    /// Where the payload is according to the headers.
    place: Range<usize>,
    source: IpAddr,
    is_fragment: bool,
}

impl Packet<'_> {
    fn classify(&self, protocol: u8, policy: &Policy) -> Expected {
        let expected = match protocol {
            6 => self.tcp(policy),
            17 if has_ports(17, policy) => self.udp(policy),
            _ => Some(Expected::Other(Outcome::NotTcp)),
        };
        expected.unwrap_or_else(|| policy.malformed(protocol))
    }

    /// RFC 9293, section 3.1.
    fn tcp(&self, policy: &Policy) -> Option<Expected> {
        let Self {
            frame,
            place,
            source,
            ..
        } = self;
        let header = frame.get(place.start..place.start + 20)?;
        let number = u16_at(header, 2)?;
        let flag = |bit: u32| header[13] & (1 << bit) != 0;
        let (fin, syn, rst, ack) = (flag(0), flag(1), flag(2), flag(4));

        let (port, base) = (u32::from(number), u32::from(policy.base));
        if port < base || port > base + 255 {
            let port = Port {
                transport: Transport::Tcp,
                number,
            };
            if policy.protected.contains(&port) && syn && !ack {
                return Some(policy.admit(*source, port));
            }
            return Some(Expected::Other(Outcome::OutsideWindow));
        }
        if !syn || ack || rst || fin {
            return Some(Expected::Other(Outcome::NotSyn));
        }
        let header_len = usize::from(header[12] / 16) * 4;
        let is_whole = place.start + header_len <= place.end && place.end <= frame.len();
        if header_len < 20 || !is_whole || is_ipv4_mapped(*source) {
            return Some(Expected::Other(Outcome::Malformed));
        }
        Some(Expected::Knock {
            source: mapped(*source),
            source_port: u16_at(header, 0)?,
            offset: u8::try_from(port - base).unwrap(),
        })
    }

    /// RFC 768. For the gate invalid lengths do not matter: the host drops such datagrams.
    fn udp(&self, policy: &Policy) -> Option<Expected> {
        let start = self.place.start;
        let header = self.frame.get(start..start + 8)?;
        let port = Port {
            transport: Transport::Udp,
            number: u16_at(header, 2)?,
        };
        let mut unprotected = Outcome::NotTcp;
        if let Some(bytes) = self.knock_payload(policy) {
            let (_, key) = policy.datagram?;
            if bytes[136..] == mac1(key, &bytes[..136]) && !is_ipv4_mapped(self.source) {
                return Some(Expected::Datagram {
                    source: mapped(self.source),
                    source_port: u16_at(header, 0)?,
                    bytes,
                });
            }
            unprotected = Outcome::DatagramOther;
        }
        Some(if policy.protected.contains(&port) {
            policy.admit(self.source, port)
        } else {
            Expected::Other(unprotected)
        })
    }

    /// The payload of a datagram to the port of knocks, if it has the length of one.
    fn knock_payload(&self, policy: &Policy) -> Option<[u8; 144]> {
        let (port, _) = policy.datagram?;
        let datagram = self.frame.get(self.place.clone())?;
        let is_whole = !self.is_fragment && usize::from(u16_at(datagram, 4)?) == datagram.len();
        let payload = datagram.get(8..)?.try_into().ok()?;
        (is_whole && u16_at(datagram, 2)? == port).then_some(payload)
    }
}

/// SipHash-2-4 of another implementation.
pub(crate) fn mac1(key: [u8; 16], covered: &[u8]) -> [u8; 8] {
    let mut hash = SipHasher24::new_with_key(&key);
    hash.write(covered);
    hash.finish().to_le_bytes()
}

/// The form in which events report an address.
fn mapped(source: IpAddr) -> Ipv6Addr {
    match source {
        IpAddr::V4(source) => source.to_ipv6_mapped(),
        IpAddr::V6(source) => source,
    }
}

/// Whether it is an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2). Such an address is not
/// valid as a source, and hosts drop such packets.
fn is_ipv4_mapped(source: IpAddr) -> bool {
    matches!(source, IpAddr::V6(source) if source.to_ipv4_mapped().is_some())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let high = *bytes.get(at)?;
    let low = *bytes.get(at + 1)?;
    Some(u16::from(high) * 256 + u16::from(low))
}
