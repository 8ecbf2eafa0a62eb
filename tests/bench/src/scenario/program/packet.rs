//! The packets for the programs.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use knock_common::{
    datagram::{DATAGRAM_LEN, Mac1Key, mac1},
    window::Window,
};
use knock_tests::{
    frame::{Frame, Tag},
    link::Pair,
};

/// The description and the bytes of a packet.
type Packet = (&'static str, Vec<u8>);

/// The source port; it is neither in the window nor protected.
const SOURCE_PORT: u16 = 40_000;
/// A protected port per protocol, and an unprotected port.
pub(super) const TCP: u16 = 22;
pub(super) const UDP: u16 = 51_820;
const OTHER: u16 = 443;
/// The port of knock datagrams, and the key of their `mac1`.
pub(super) const KNOCKS: u16 = 443;
pub(super) const KEY: Mac1Key = Mac1Key::from_bytes([1; 16]);

/// Ordinary traffic: to ports that are neither in the window nor protected.
pub(super) fn to_other_ports() -> Result<Vec<Packet>> {
    let segment = |ports| {
        frame(Frame::syn, Pair::CLIENT_V4, Pair::SERVER_V4, ports)
            .tcp(|tcp| (tcp.syn, tcp.ack) = (false, true))
            .payload([0; 64])
    };
    Ok(vec![
        ("TCP to another port", segment(OTHER).bytes()?),
        (
            "TCP to another port, IPv6",
            frame(Frame::syn, Pair::CLIENT_V6, Pair::SERVER_V6, OTHER)
                .tcp(|tcp| (tcp.syn, tcp.ack) = (false, true))
                .payload([0; 64])
                .bytes()?,
        ),
        (
            "TCP to another port, VLAN tag",
            segment(OTHER).tag(Tag::Customer(7)).bytes()?,
        ),
        (
            "UDP to another port",
            frame(Frame::datagram, Pair::CLIENT_V4, Pair::SERVER_V4, OTHER)
                .payload([0; 64])
                .bytes()?,
        ),
        ("ARP", arp()),
    ])
}

/// Packets to protected ports. Only [`Pair::CLIENT_V4`] has leases.
pub(super) fn to_the_gate() -> Result<Vec<Packet>> {
    let without_lease = Pair::SERVER_V4;
    let syn = |source| frame(Frame::syn, source, Pair::SERVER_V4, TCP).bytes();
    let datagram = |source| frame(Frame::datagram, source, Pair::SERVER_V4, UDP).bytes();
    Ok(vec![
        (
            "gate: segment of an established connection",
            frame(Frame::syn, Pair::CLIENT_V4, Pair::SERVER_V4, TCP)
                .tcp(|tcp| (tcp.syn, tcp.ack) = (false, true))
                .payload([0; 64])
                .bytes()?,
        ),
        ("gate: SYN without a lease", syn(without_lease)?),
        ("gate: SYN with a lease", syn(Pair::CLIENT_V4)?),
        ("gate: datagram without a lease", datagram(without_lease)?),
        ("gate: datagram with a lease", datagram(Pair::CLIENT_V4)?),
    ])
}

/// A SYN to the window.
pub(super) fn knock() -> Result<Vec<u8>> {
    let port = Window::DEFAULT.port(71);
    frame(Frame::syn, Pair::CLIENT_V4, Pair::SERVER_V4, port).bytes()
}

/// A knock datagram; those of different `number`s are no copies of one another.
pub(super) fn knock_datagram(number: u64) -> Result<Vec<u8>> {
    datagram(KNOCKS, number, 0)
}

/// The same with a wrong `mac1`.
pub(super) fn no_knock() -> Result<Vec<u8>> {
    datagram(KNOCKS, 0, 1)
}

/// The same to another port.
pub(super) fn to_another_port() -> Result<Vec<u8>> {
    datagram(UDP, 0, 0)
}

/// A datagram with the length of a knock. `error` changes its `mac1`.
fn datagram(port: u16, number: u64, error: u8) -> Result<Vec<u8>> {
    let mut payload = [0; DATAGRAM_LEN];
    payload[..8].copy_from_slice(&number.to_ne_bytes());
    if let Some((covered, place)) = payload.split_first_chunk_mut() {
        place.copy_from_slice(&mac1(KEY, covered));
        place[0] ^= error;
    }
    frame(Frame::datagram, Pair::CLIENT_V4, Pair::SERVER_V4, port)
        .payload(payload)
        .bytes()
}

fn frame<T: Into<IpAddr>>(
    make: impl FnOnce(SocketAddr, SocketAddr) -> Frame,
    source: T,
    destination: T,
    port: u16,
) -> Frame {
    make(
        SocketAddr::new(source.into(), SOURCE_PORT),
        SocketAddr::new(destination.into(), port),
    )
}

/// An ARP request for the server's address, padded to the minimum frame size.
fn arp() -> Vec<u8> {
    let mut frame = [[0xff; 6], Pair::CLIENT_MAC].concat();
    // EtherType; hardware and protocol types with their address lengths; operation.
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(Pair::CLIENT_MAC);
    frame.extend(Pair::CLIENT_V4.octets());
    frame.extend([0; 6]);
    frame.extend(Pair::SERVER_V4.octets());
    frame.resize(60, 0);
    frame
}
