//! Frames, whole and broken.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use anyhow::{Context as _, Result, bail};
use etherparse::{
    EtherType, Ethernet2Header, IpAuthHeader, IpFragOffset, IpNumber, Ipv4Header,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, LaxNetSlice, LaxSlicedPacket,
    SingleVlanHeader, TcpHeader, TransportSlice, UdpHeader, VlanId,
};
pub use etherparse::{IpNumber as Protocol, TcpHeader as Tcp};

use crate::link::Pair;

/// Of the packets themselves; nothing on a [`Pair`] counts hops.
const HOP_LIMIT: u8 = 64;

/// An Ethernet frame with an IP packet in it, described part by part. Lengths and checksums
/// are filled in when it becomes [`bytes`](Self::bytes).
#[derive(Clone, Debug)]
pub struct Frame {
    /// From which hardware address; that of a [`Pair`]'s client at first.
    pub source_mac: [u8; 6],
    /// To which hardware address; that of a [`Pair`]'s server at first.
    pub destination_mac: [u8; 6],
    /// VLAN tags, outermost first.
    pub tags: Vec<Tag>,
    /// From which IP address.
    pub source: IpAddr,
    /// To which IP address, of the same family.
    pub destination: IpAddr,
    /// Options of an IPv4 header: up to 40 bytes, a multiple of 4.
    pub ipv4_options: Vec<u8>,
    /// Extension headers of an IPv6 packet, in their order.
    pub extensions: Vec<Extension>,
    /// By what the host tells fragments of this packet from those of others.
    pub identification: u16,
    /// What the IP packet carries.
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
    /// A header of type, length in 8 bytes and content: hop-by-hop options, routing,
    /// destination options, mobility. The content is padded to fit.
    Plain(Protocol, Vec<u8>),
    /// An authentication header, whose length counts differently, with this check value, a
    /// multiple of 4 bytes.
    Authentication(Vec<u8>),
}

impl Extension {
    /// Hop-by-hop options that are only padding.
    #[must_use]
    pub fn hop_by_hop() -> Self {
        Self::Plain(IpNumber::IPV6_HEADER_HOP_BY_HOP, PADDING.to_vec())
    }

    /// Destination options that are only padding.
    #[must_use]
    pub fn destination_options() -> Self {
        Self::Plain(IpNumber::IPV6_DESTINATION_OPTIONS, PADDING.to_vec())
    }

    /// A routing header with no hop left, of the experimental type 253.
    #[must_use]
    pub fn routing() -> Self {
        Self::Plain(IpNumber::IPV6_ROUTE_HEADER, vec![253, 0, 0, 0, 0, 0])
    }

    /// A fragment header in the place of any other, so that more may follow: of a piece that
    /// begins at 8 times `offset` bytes, with `more` to come. [`Frame::fragments`] makes
    /// whole fragments.
    #[must_use]
    pub fn fragment(offset: u16, more: bool) -> Self {
        let [high, low] = (offset * 8 + u16::from(more)).to_be_bytes();
        // Its second byte is reserved, and zero like the length of a header of 8 bytes.
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

/// What an IP packet carries.
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
    /// Anything else.
    Other {
        /// The protocol that the IP header names.
        protocol: Protocol,
        /// The bytes, which stay as they are.
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
            identification: 1,
            content,
        }
    }

    /// The same with `change` made to its TCP header, if it has one.
    #[must_use]
    pub fn tcp(mut self, change: impl FnOnce(&mut Tcp)) -> Self {
        if let Content::Tcp { header, .. } = &mut self.content {
            change(header);
        }
        self
    }

    /// The same with a payload of the segment or datagram, if it is one.
    #[must_use]
    pub fn payload(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        if let Content::Tcp { payload, .. } | Content::Udp { payload, .. } = &mut self.content {
            *payload = bytes.into();
        }
        self
    }

    /// The same with one more VLAN tag inside the others.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.tags.push(tag);
        self
    }

    /// The same with these IPv4 options.
    #[must_use]
    pub fn ipv4_options(mut self, options: impl Into<Vec<u8>>) -> Self {
        self.ipv4_options = options.into();
        self
    }

    /// The same with one more IPv6 extension header behind the others.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// The frame as it goes over the wire.
    ///
    /// # Errors
    ///
    /// When the parts do not fit: addresses of two families, options of a length that does
    /// not exist, a packet longer than 65535 bytes.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let (protocol, content) = self.content()?;
        self.assemble(protocol, &content, None)
    }

    /// The frame's packet in fragments that carry `len` bytes each, but for the last; `len`
    /// is a multiple of 8. Where it all fits, IPv6 yields an atomic fragment (RFC 6946).
    ///
    /// # Errors
    ///
    /// Like [`bytes`](Self::bytes), and for a `len` that is no such multiple.
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

    /// The IP packet's content, whole and with its checksum.
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

    /// The chain of extension headers in front of `protocol`, and the first one's type.
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
        // From the inside out, because each names what follows it.
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

/// A TCP segment that was found in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// From where it comes.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// Its header, flags and all.
    pub header: Tcp,
}

impl Segment {
    /// The TCP segment in `frame`, if there is a whole header of one.
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

/// The frame cut off after each of its bytes, from nothing to all but the last.
pub fn truncations(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..frame.len()).filter_map(|len| frame.get(..len))
}

/// The frame with one bit flipped, for each of its bits.
pub fn bit_flips(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..frame.len() * 8).map(|bit| {
        let mut flipped = frame.to_vec();
        if let Some(byte) = flipped.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        flipped
    })
}

/// The frame with other bytes from `offset` on.
///
/// # Errors
///
/// When they would reach past its end.
pub fn overwritten(frame: &[u8], offset: usize, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut frame = frame.to_vec();
    frame
        .get_mut(offset..offset + bytes.len())
        .context("the frame ends before that")?
        .copy_from_slice(bytes);
    Ok(frame)
}

impl Frame {
    /// One fragment, with these bytes of the packet's content; `more` says that it is not the
    /// last. With several of these, fragments can overlap.
    ///
    /// # Errors
    ///
    /// Like [`bytes`](Self::bytes), and where the range does not begin at a multiple of 8 or
    /// reaches past the content.
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
