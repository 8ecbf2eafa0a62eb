//! Knock datagrams, packet by packet. Whatever else comes to their port passes.

mod buffers;
mod gate;
mod limits;
mod log;
mod random;
mod table;

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

use knock_common::{
    datagram::Mac1Key,
    rate::Rate,
    settings::{Datagram, Settings, Verdict},
};
use knock_tests::{frame::Frame, link::Pair};

use crate::{
    bench::{unlimited, unlimited_rate},
    reference::{Expected, Policy, mac1},
    table::BASE,
};

/// The port of knock datagrams in these tests.
const PORT: u16 = 443;
const KEY: [u8; 16] = *b"any 16 bytes do!";
const SOURCE_PORT: u16 = 40000;

/// Settings with knock datagrams that never limit a source.
fn settings(verdict: Verdict) -> Settings {
    with_rate(unlimited(verdict), unlimited_rate())
}

/// `settings` with knock datagrams at this rate.
fn with_rate(settings: Settings, rate: Rate) -> Settings {
    settings.with_datagram(&Datagram {
        port: NonZeroU16::new(PORT).unwrap(),
        mac1: Mac1Key::from_bytes(KEY),
        rate,
    })
}

/// The same for the reference, without a gate.
fn policy() -> Policy {
    Policy {
        datagram: Some((PORT, KEY)),
        ..Policy::window(BASE)
    }
}

/// The payload with this number, with the right `mac1`.
fn payload(number: u64) -> [u8; 144] {
    let mut payload = [0; 144];
    fastrand::Rng::with_seed(number).fill(&mut payload);
    sealed(payload)
}

/// The payload with the `mac1` that is right for it.
fn sealed(mut payload: [u8; 144]) -> [u8; 144] {
    let mac1 = mac1(KEY, &payload[..136]);
    payload[136..].copy_from_slice(&mac1);
    payload
}

/// A datagram to the port of knocks.
fn datagram(source: IpAddr, payload: &[u8]) -> Frame {
    let destination = match source {
        IpAddr::V4(_) => Pair::SERVER_V4.into(),
        IpAddr::V6(_) => Pair::SERVER_V6.into(),
    };
    Frame::datagram(
        SocketAddr::new(source, SOURCE_PORT),
        SocketAddr::new(destination, PORT),
    )
    .payload(payload)
}

/// The knock datagram with this number from a [`Pair`]'s client.
fn knock(number: u64) -> Vec<u8> {
    let frame = datagram(Pair::CLIENT_V4.into(), &payload(number));
    frame.bytes().unwrap()
}

/// The event that the whole datagram `payload` from `source` should cause.
fn event(source: IpAddr, payload: [u8; 144]) -> Expected {
    Expected::Datagram {
        source: match source {
            IpAddr::V4(source) => source.to_ipv6_mapped(),
            IpAddr::V6(source) => source,
        },
        source_port: SOURCE_PORT,
        bytes: payload,
    }
}
