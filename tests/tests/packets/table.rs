//! A table of packets with their expected outcomes.

mod ipv4;
mod ipv6;
mod link;
mod tcp;

use std::net::{IpAddr, SocketAddr};

use knock_common::{counters::Outcome, window::Window};
use knock_tests::{
    frame::{Content, Frame, Protocol, overwritten},
    link::Pair,
};

use crate::reference::Expected;

pub(crate) const BASE: u16 = Window::DEFAULT.base();

/// Offset of the IP header behind an Ethernet header without tags.
const IP: usize = 14;
/// Offset of the TCP header behind an IPv4 header without options.
const TCP_V4: usize = IP + 20;
/// Offset of the TCP header behind an IPv6 header without extensions.
const TCP_V6: usize = IP + 40;

/// One row of the table.
pub(crate) struct Packet {
    pub(crate) what: String,
    pub(crate) frame: Vec<u8>,
    pub(crate) expected: Expected,
}

/// The whole table.
pub(crate) fn packets() -> Vec<Packet> {
    let groups: [fn() -> Vec<Packet>; 4] =
        [link::packets, ipv4::packets, ipv6::packets, tcp::packets];
    groups.into_iter().flat_map(|packets| packets()).collect()
}

/// An IPv4 SYN to `offset` in the window.
pub(crate) fn syn_v4(offset: u8) -> Frame {
    syn_to(
        Pair::CLIENT_V4,
        Pair::SERVER_V4,
        Window::DEFAULT.port(offset),
    )
}

/// An IPv6 SYN to `offset` in the window.
pub(crate) fn syn_v6(offset: u8) -> Frame {
    syn_to(
        Pair::CLIENT_V6,
        Pair::SERVER_V6,
        Window::DEFAULT.port(offset),
    )
}

/// One SYN of each family.
pub(crate) fn syns(offset: u8) -> [Frame; 2] {
    [syn_v4(offset), syn_v6(offset)]
}

pub(crate) fn syn_to(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    port: u16,
) -> Frame {
    Frame::syn(
        SocketAddr::new(source.into(), 40000),
        SocketAddr::new(destination.into(), port),
    )
}

/// The event that `frame` should cause, as a SYN to the window.
pub(crate) fn expected_event(frame: &Frame) -> Expected {
    let Content::Tcp { header, .. } = &frame.content else {
        panic!("{frame:?} is not TCP");
    };
    Expected::Knock {
        source: match frame.source {
            IpAddr::V4(source) => source.to_ipv6_mapped(),
            IpAddr::V6(source) => source,
        },
        source_port: header.source_port,
        offset: u8::try_from(header.destination_port - BASE).unwrap(),
    }
}

fn window_syn(what: impl Into<String>, frame: &Frame) -> Packet {
    window_syn_in(what, frame, frame.bytes().unwrap())
}

/// A SYN to the window in `bytes`, which differ from those that `frame` makes.
fn window_syn_in(what: impl Into<String>, frame: &Frame, bytes: Vec<u8>) -> Packet {
    Packet {
        what: what.into(),
        frame: bytes,
        expected: expected_event(frame),
    }
}

fn other(what: impl Into<String>, frame: Vec<u8>, outcome: Outcome) -> Packet {
    Packet {
        what: what.into(),
        frame,
        expected: Expected::Other(outcome),
    }
}

/// The bytes of `frame`, with `bytes` at `offset`.
fn with(frame: &Frame, offset: usize, bytes: &[u8]) -> Vec<u8> {
    overwritten(&frame.bytes().unwrap(), offset, bytes).unwrap()
}

/// A packet of the same family and with the same extensions that is not TCP.
fn carrying(frame: &Frame, protocol: Protocol) -> Vec<u8> {
    let frame = Frame {
        content: Content::Other {
            protocol,
            bytes: vec![0; 20],
        },
        ..frame.clone()
    };
    frame.bytes().unwrap()
}
