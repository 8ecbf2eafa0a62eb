//! Frames, valid and malformed.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use anyhow::{Context as _, Result, bail};
use etherparse::{
    EtherType, Ethernet2Header, IpAuthHeader, IpDscp, IpFragOffset, IpNumber, Ipv4Header,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, LaxNetSlice, LaxSlicedPacket,
    SingleVlanHeader, TcpHeader, TransportSlice, UdpHeader, VlanId,
};
pub use etherparse::{IpNumber as Protocol, TcpHeader as Tcp};

use crate::link::Pair;

/// The TTL or hop limit of every packet. No router is on a [`Pair`].
const HOP_LIMIT: u8 = 64;

/// An Ethernet frame with an IP packet, described by its parts. [`bytes`](Self::bytes) fills in
/// lengths and checksums.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Source MAC address; by default that of a [`Pair`]'s client.
    pub source_mac: [u8; 6],
    /// Destination MAC address; by default that of a [`Pair`]'s server.
    pub destination_mac: [u8; 6],
    /// VLAN tags, outermost first.
    pub tags: Vec<Tag>,
    /// Source IP address.
    pub source: IpAddr,
    /// Destination IP address, of the same family.
    pub destination: IpAddr,
    /// Options of an IPv4 header: up to 40 bytes, a multiple of 4.
    pub ipv4_options: Vec<u8>,
    /// Extension headers of an IPv6 packet, in order.
    pub extensions: Vec<Extension>,
    /// Traffic class of IPv6, or type of service of IPv4.
    pub class: u8,
    /// Identification field of the packet's fragments.
    pub identification: u16,
    /// Payload of the IP packet.
    pub content: Content,
}

/// A VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// 802.1Q with this identifier.
    Customer(u16),
    /// 802.1ad with this identifier.
    Provider(u16),
}

/// An IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// A header with a type, a length in units of 8 bytes and content: hop-by-hop options, routing,
    /// destination options, mobility. The content is padded.
    Plain(Protocol, Vec<u8>),
    /// An authentication header with this ICV, a multiple of 4 bytes. Its length field counts in
    /// units of 4 bytes.
    Authentication(Vec<u8>),
}

impl Extension {
    /// Hop-by-hop options with padding only.
    #[must_use]
    pub fn hop_by_hop() -> Self {
        Self::Plain(IpNumber::IPV6_HEADER_HOP_BY_HOP, PADDING.to_vec())
    }

    /// Destination options with padding only.
    #[must_use]
    pub fn destination_options() -> Self {
        Self::Plain(IpNumber::IPV6_DESTINATION_OPTIONS, PADDING.to_vec())
    }

    /// A routing header with no segments left, of the experimental type 253.
    #[must_use]
    pub fn routing() -> Self {
        Self::Plain(IpNumber::IPV6_ROUTE_HEADER, vec![253, 0, 0, 0, 0, 0])
    }

    /// A fragment header as an ordinary extension header, so that more headers may follow. `offset`
    /// is in units of 8 bytes; `more` is the M flag. [`Frame::fragments`] builds complete
    /// fragments.
    #[must_use]
    pub fn fragment(offset: u16, more: bool) -> Self {
        let [high, low] = (offset * 8 + u16::from(more)).to_be_bytes();
        // The second byte is reserved. It is zero, like the length field of an 8-byte header.
        Self::Plain(
            IpNumber::IPV6_FRAGMENTATION_HEADER,
            vec![high, low, 0, 0, 0, 1],
        )
    }

    fn protocol(&self) -> Protocol {
        match self {
            Self::Plain(protocol, _) => *protocol,
            Self::Authentication(_) => IpNumber::AUTHENTICATION_HEADER,
        }
    }

    fn bytes(&self, next: Protocol) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Plain(_, content) => {
                let mut content = content.clone();
                content.resize((content.len() + 2).next_multiple_of(8).max(8) - 2, 0);
                Ipv6RawExtHeader::new_raw(next, &content)?
                    .to_bytes()
                    .to_vec()
            }
            Self::Authentication(check) => {
                IpAuthHeader::new(next, 1, 1, check)?.to_bytes().to_vec()
            }
        })
    }
}

/// A PadN option that fills the smallest options header.
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

/// The payload of an IP packet.
#[derive(Clone, Debug)]
pub enum Content {
    /// A TCP segment.
    Tcp {
        /// Its header; the checksum is filled in.
        header: Box<Tcp>,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// A UDP datagram, whose length and checksum are filled in.
    Udp {
        /// Its source port.
        source_port: u16,
        /// Its destination port.
        destination_port: u16,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// Any other protocol.
    Other {
        /// The protocol number in the IP header.
        protocol: Protocol,
        /// The payload, sent unchanged.
        bytes: Vec<u8>,
    },
}

impl Frame {
    /// A SYN without options or payload, from a [`Pair`]'s client to its server.
    #[must_use]
    pub fn syn(source: SocketAddr, destination: SocketAddr) -> Self {
        let mut header = Tcp::new(source.port(), destination.port(), 1, u16::MAX);
        header.syn = true;
        Self::new(
            source.ip(),
            destination.ip(),
            Content::Tcp {
                header: Box::new(header),
                payload: Vec::new(),
            },
        )
    }

    /// A datagram without payload, from a [`Pair`]'s client to its server.
    #[must_use]
    pub fn datagram(source: SocketAddr, destination: SocketAddr) -> Self {
        let content = Content::Udp {
            source_port: source.port(),
            destination_port: destination.port(),
            payload: Vec::new(),
        };
        Self::new(source.ip(), destination.ip(), content)
    }

    /// A packet that carries `content`, from a [`Pair`]'s client to its server.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, content: Content) -> Self {
        Self {
            source_mac: Pair::CLIENT_MAC,
            destination_mac: Pair::SERVER_MAC,
            tags: Vec::new(),
            source,
            destination,
            ipv4_options: Vec::new(),
            extensions: Vec::new(),
            class: 0,
            identification: 1,
            content,
        }
    }

    /// Applies `change` to the TCP header, if there is one.
    #[must_use]
    pub fn tcp(mut self, change: impl FnOnce(&mut Tcp)) -> Self {
        if let Content::Tcp { header, .. } = &mut self.content {
            change(header);
        }
        self
    }

    /// Sets the payload of a TCP segment or UDP datagram.
    #[must_use]
    pub fn payload(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        if let Content::Tcp { payload, .. } | Content::Udp { payload, .. } = &mut self.content {
            *payload = bytes.into();
        }
        self
    }

    /// Adds a VLAN tag inside the existing tags.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.tags.push(tag);
        self
    }

    /// Sets the IPv4 options.
    #[must_use]
    pub fn ipv4_options(mut self, options: impl Into<Vec<u8>>) -> Self {
        self.ipv4_options = options.into();
        self
    }

    /// Adds an IPv6 extension header behind the existing ones.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// The frame's bytes on the wire.
    ///
    /// # Errors
    ///
    /// Returns an error if the parts are inconsistent: addresses of two families, options of an
    /// invalid length, or a packet longer than 65535 bytes.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let (protocol, content) = self.content()?;
        self.assemble(protocol, &content, None)
    }

    /// Splits the packet into fragments of `len` payload bytes each, except for the last. `len` is
    /// a multiple of 8. If the payload fits in one IPv6 fragment, that is an atomic fragment (RFC
    /// 6946).
    ///
    /// # Errors
    ///
    /// Returns the errors of [`bytes`](Self::bytes), and an error if `len` is not a multiple of 8.
    pub fn fragments(&self, len: usize) -> Result<Vec<Vec<u8>>> {
        if len == 0 || !len.is_multiple_of(8) {
            bail!("fragments carry a multiple of 8 bytes, not {len}");
        }
        let (protocol, content) = self.content()?;
        let pieces = content.chunks(len);
        let last = pieces.len().saturating_sub(1);
        pieces
            .enumerate()
            .map(|(index, piece)| {
                let offset = u16::try_from(index * len / 8)?;
                let fragment = Fragment {
                    offset: IpFragOffset::try_new(offset)?,
                    more: index < last,
                };
                self.assemble(protocol, piece, Some(fragment))
            })
            .collect()
    }

    /// The protocol and the payload of the IP packet, with its checksum.
    fn content(&self) -> Result<(Protocol, Vec<u8>)> {
        match &self.content {
            Content::Other { protocol, bytes } => Ok((*protocol, bytes.clone())),
            Content::Tcp { header, payload } => {
                let mut header = header.clone();
                header.checksum = match (self.source, self.destination) {
                    (IpAddr::V4(source), IpAddr::V4(destination)) => header
                        .calc_checksum_ipv4_raw(source.octets(), destination.octets(), payload)?,
                    (IpAddr::V6(source), IpAddr::V6(destination)) => header
                        .calc_checksum_ipv6_raw(source.octets(), destination.octets(), payload)?,
                    _ => bail!("the addresses are of two families"),
                };
                Ok((IpNumber::TCP, [&header.to_bytes()[..], payload].concat()))
            }
            Content::Udp {
                source_port,
                destination_port,
                payload,
            } => {
                let mut header = UdpHeader::without_ipv4_checksum(
                    *source_port,
                    *destination_port,
                    payload.len(),
                )?;
                header.checksum = match (self.source, self.destination) {
                    (IpAddr::V4(source), IpAddr::V4(destination)) => header
                        .calc_checksum_ipv4_raw(source.octets(), destination.octets(), payload)?,
                    (IpAddr::V6(source), IpAddr::V6(destination)) => header
                        .calc_checksum_ipv6_raw(source.octets(), destination.octets(), payload)?,
                    _ => bail!("the addresses are of two families"),
                };
                Ok((IpNumber::UDP, [&header.to_bytes()[..], payload].concat()))
            }
        }
    }

    fn assemble(
        &self,
        protocol: Protocol,
        content: &[u8],
        fragment: Option<Fragment>,
    ) -> Result<Vec<u8>> {
        let (ether_type, packet) = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let len = u16::try_from(content.len())?;
                let mut header = Ipv4Header::new(
                    len,
                    HOP_LIMIT,
                    protocol,
                    source.octets(),
                    destination.octets(),
                )?;
                header.dscp = IpDscp::try_new(self.class >> 2)?;
                header.options = self.ipv4_options.as_slice().try_into()?;
                header.set_payload_len(content.len())?;
                if let Some(fragment) = fragment {
                    header.dont_fragment = false;
                    header.more_fragments = fragment.more;
                    header.fragment_offset = fragment.offset;
                    header.identification = self.identification;
                }
                header.header_checksum = header.calc_header_checksum();
                (EtherType::IPV4, [&header.to_bytes(), content].concat())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (next_header, mut extended) = self.extensions(protocol, fragment)?;
                extended.extend_from_slice(content);
                let header = Ipv6Header {
                    traffic_class: self.class,
                    payload_length: u16::try_from(extended.len())?,
                    next_header,
                    hop_limit: HOP_LIMIT,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                (
                    EtherType::IPV6,
                    [&header.to_bytes()[..], &extended].concat(),
                )
            }
            _ => bail!("the addresses are of two families"),
        };
        let mut frame = self.link_header(ether_type)?;
        frame.extend_from_slice(&packet);
        Ok(frame)
    }

    /// The chain of extension headers before `protocol`, and the type of the first one.
    fn extensions(
        &self,
        protocol: Protocol,
        fragment: Option<Fragment>,
    ) -> Result<(Protocol, Vec<u8>)> {
        let mut next = protocol;
        let mut chain = Vec::new();
        if let Some(fragment) = fragment {
            let identification = u32::from(self.identification);
            let header =
                Ipv6FragmentHeader::new(next, fragment.offset, fragment.more, identification);
            chain.extend_from_slice(&header.to_bytes());
            next = IpNumber::IPV6_FRAGMENTATION_HEADER;
        }
        // Built backwards, because each header names the type of the next.
        for extension in self.extensions.iter().rev() {
            chain = [extension.bytes(next)?, chain].concat();
            next = extension.protocol();
        }
        Ok((next, chain))
    }

    fn link_header(&self, packet: EtherType) -> Result<Vec<u8>> {
        let mut ether_type = packet;
        let mut tags = Vec::new();
        for tag in self.tags.iter().rev() {
            let (tagged, id) = match *tag {
                Tag::Customer(id) => (EtherType::VLAN_TAGGED_FRAME, id),
                Tag::Provider(id) => (EtherType::PROVIDER_BRIDGING, id),
            };
            let header = SingleVlanHeader {
                vlan_id: VlanId::try_new(id)?,
                ether_type,
                ..SingleVlanHeader::default()
            };
            tags = [&header.to_bytes()[..], &tags].concat();
            ether_type = tagged;
        }
        let ethernet = Ethernet2Header {
            source: self.source_mac,
            destination: self.destination_mac,
            ether_type,
        };
        Ok([&ethernet.to_bytes()[..], &tags].concat())
    }
}

#[derive(Clone, Copy)]
struct Fragment {
    offset: IpFragOffset,
    more: bool,
}

/// A TCP segment parsed from a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// TCP header.
    pub header: Tcp,
}

impl Segment {
    /// Parses the TCP segment in `frame`. Returns `None` if there is no complete TCP header.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
        let (source, destination) = match packet.net? {
            LaxNetSlice::Ipv4(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            LaxNetSlice::Ipv6(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            LaxNetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
            return None;
        };
        let header: TcpHeader = tcp.to_header();
        Some(Self {
            source: SocketAddr::new(source, header.source_port),
            destination: SocketAddr::new(destination, header.destination_port),
            header,
        })
    }
}

/// Every proper prefix of the frame, from empty to all but the last byte.
pub fn truncations(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..frame.len()).filter_map(|len| frame.get(..len))
}

/// The frame with one bit flipped, for each bit.
pub fn bit_flips(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..frame.len() * 8).map(|bit| {
        let mut flipped = frame.to_vec();
        if let Some(byte) = flipped.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        flipped
    })
}

/// Replaces the bytes of the frame from `offset` on.
///
/// # Errors
///
/// Returns an error if `bytes` reach past the end of the frame.
pub fn overwritten(frame: &[u8], offset: usize, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut frame = frame.to_vec();
    frame
        .get_mut(offset..offset + bytes.len())
        .context("the frame ends before that")?
        .copy_from_slice(bytes);
    Ok(frame)
}

impl Frame {
    /// One fragment that carries this range of the packet's payload; `more` is the more-fragments
    /// flag. Several calls can produce overlapping fragments.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`bytes`](Self::bytes), and an error if the range does not begin at a
    /// multiple of 8 or exceeds the payload.
    pub fn fragment(&self, range: Range<usize>, more: bool) -> Result<Vec<u8>> {
        if !range.start.is_multiple_of(8) {
            bail!(
                "a fragment begins at a multiple of 8, not at {}",
                range.start
            );
        }
        let offset = IpFragOffset::try_new(u16::try_from(range.start / 8)?)?;
        let (protocol, content) = self.content()?;
        let piece = content.get(range).context("the content ends before that")?;
        self.assemble(protocol, piece, Some(Fragment { offset, more }))
    }
}
