//! A row of the table: one way to send a SYN or a datagram, and the expected result.

use std::net::{IpAddr, SocketAddr};

use etherparse::UdpHeader;
use knock_common::gate::Transport;
use knock_tests::frame::{Content, Extension, Frame, Protocol};

use crate::host::{CLIENT, SERVER, TCP_PORT, UDP_PORT};

/// IPv4, as an index of [`CLIENT`] and [`SERVER`].
pub(crate) const V4: usize = 0;
/// IPv6, as an index of [`CLIENT`] and [`SERVER`].
pub(crate) const V6: usize = 1;

/// Why the gate drops a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Its port is protected and its source has no lease.
    Refused,
    /// It could hide a connection attempt.
    Unclear,
}

/// One way to send a SYN or a datagram to a protected port.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) transport: Transport,
    /// Whether Linux answers the SYN or delivers the datagram without a gate.
    pub(crate) delivered_without_gate: bool,
    /// Whether the source address is not the client's.
    pub(crate) is_spoofed: bool,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    judgement: Option<Judgement>,
    frames: Box<Frames>,
}

type Frames = dyn Fn(Frame) -> Vec<Vec<u8>>;

impl Row {
    /// The frames that `frames` makes of a plain SYN. By default Linux accepts them and the gate
    /// refuses them.
    pub(crate) fn syn(
        family: usize,
        name: &str,
        frames: impl Fn(Frame) -> Vec<Vec<u8>> + 'static,
    ) -> Self {
        Self::new(Transport::Tcp, family, name, Box::new(frames))
    }

    /// The frames that `frames` makes of a plain datagram. By default Linux accepts them and the
    /// gate refuses them.
    pub(crate) fn datagram(
        family: usize,
        name: &str,
        frames: impl Fn(Frame) -> Vec<Vec<u8>> + 'static,
    ) -> Self {
        Self::new(Transport::Udp, family, name, Box::new(frames))
    }

    fn new(transport: Transport, family: usize, name: &str, frames: Box<Frames>) -> Self {
        Self {
            name: format!("{transport:?} over IPv{}: {name}", [4, 6][family]),
            transport,
            delivered_without_gate: true,
            is_spoofed: false,
            judgement: Some(Judgement::Refused),
            source: CLIENT[family],
            destination: SERVER[family],
            frames,
        }
    }

    /// Hides its port or its flags, so that the gate drops it as unclear.
    pub(crate) fn unclear(self) -> Self {
        Self {
            judgement: Some(Judgement::Unclear),
            ..self
        }
    }

    /// Starts no connection, so that the gate passes it.
    pub(crate) fn harmless(self) -> Self {
        Self {
            judgement: None,
            ..self
        }
    }

    /// Has a spoofed source address.
    pub(crate) fn spoofed(self) -> Self {
        Self {
            is_spoofed: true,
            ..self
        }
    }

    /// Is dropped by Linux without a gate too.
    pub(crate) fn undelivered(self) -> Self {
        Self {
            delivered_without_gate: false,
            ..self
        }
    }

    /// Comes from another address of the client.
    pub(crate) fn from(self, source: IpAddr) -> Self {
        Self { source, ..self }
    }

    /// Why the gate drops it if its source has no lease; `None` if it passes.
    pub(crate) fn held_back(&self) -> Option<Judgement> {
        self.judgement
    }

    /// The frames, sent from the client's port `port`.
    pub(crate) fn frames(&self, port: u16) -> Vec<Vec<u8>> {
        let mut frame = match self.transport {
            Transport::Tcp => Frame::syn(
                SocketAddr::new(self.source, port),
                SocketAddr::new(self.destination, TCP_PORT),
            ),
            Transport::Udp => datagram(self.source, port, self.destination),
        };
        frame.identification = port;
        (self.frames)(frame)
    }
}

/// A datagram of 32 bytes, header included: four units of 8 bytes for fragments.
fn datagram(source: IpAddr, port: u16, destination: IpAddr) -> Frame {
    let payload = [7; 24];
    let mut header = UdpHeader::without_ipv4_checksum(port, UDP_PORT, payload.len()).unwrap();
    header.checksum = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &payload)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &payload)
        }
        _ => panic!("{source} and {destination} are of two families"),
    }
    .unwrap();
    Frame::new(
        source,
        destination,
        Content::Other {
            protocol: Protocol::UDP,
            bytes: [&header.to_bytes()[..], &payload].concat(),
        },
    )
}

/// The unfragmented frame.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the last call of a chain of by-value builders"
)]
pub(crate) fn whole(frame: Frame) -> Vec<Vec<u8>> {
    vec![frame.bytes().unwrap()]
}

/// The frame in fragments of `len` bytes.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the last call of a chain of by-value builders"
)]
pub(crate) fn cut(frame: Frame, len: usize) -> Vec<Vec<u8>> {
    frame.fragments(len).unwrap()
}

/// The frames in reverse order.
pub(crate) fn reversed(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.reverse();
    frames
}

/// Adds `count` destination options headers to the frame.
pub(crate) fn with_options(frame: Frame, count: usize) -> Frame {
    (0..count).fold(frame, |frame, _| {
        frame.extension(Extension::destination_options())
    })
}

/// The fragment header of an atomic fragment (RFC 6946).
pub(crate) fn atomic(identification: u16) -> Extension {
    let [high, low] = identification.to_be_bytes();
    Extension::Plain(
        Protocol::IPV6_FRAGMENTATION_HEADER,
        vec![0, 0, 0, 0, high, low],
    )
}

/// An IPv6 frame whose destination options are inside the fragmentable part.
pub(crate) fn options_inside(frame: Frame) -> Frame {
    const CONTENT: usize = 14 + 40;
    let extended = with_options(frame.clone(), 1).bytes().unwrap();
    Frame {
        content: Content::Other {
            protocol: Protocol::IPV6_DESTINATION_OPTIONS,
            bytes: extended[CONTENT..].to_vec(),
        },
        ..frame
    }
}
