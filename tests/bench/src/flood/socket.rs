//! A flood from a packet socket at a given rate.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use knock_tests::{
    frame::Frame,
    link::Pair,
    wire::{Burst, Sender},
};

use super::definition::{Flood, Packets, RANDOM_SOURCES, Sources};

/// Frames per system call.
const BURST: usize = 64;

/// The shortest pause; the timer resolution makes shorter ones too long.
const PAUSE: Duration = Duration::from_micros(200);

/// Sends `flood` through `sender` with `rate` SYNs per second until `is_over` is set.
pub(super) fn send(flood: &Flood, rate: u32, sender: Sender, is_over: &AtomicBool) -> Result<()> {
    ensure!(
        matches!(flood.packets, Packets::Syns),
        "a flood of datagrams has no rate"
    );
    let mut burst = Burst::new(sender, BURST);
    let mut syns = vec![Syn::new()?; BURST];
    let mut frames: Vec<Vec<u8>> = syns.iter().map(|syn| syn.0.clone()).collect();
    let mut origins = Origins::new(flood.sources, fastrand::Rng::new());
    let begun = Instant::now();
    let mut sent = 0;
    while !is_over.load(Ordering::Relaxed) {
        let due = Duration::from_secs(sent) / rate;
        if let Some(early) = due.checked_sub(begun.elapsed()) {
            thread::sleep(early.max(PAUSE));
        }
        for (syn, frame) in syns.iter_mut().zip(&mut frames) {
            syn.vary(flood, &mut origins);
            frame.copy_from_slice(&syn.0);
        }
        let mut left = &frames[..];
        while !left.is_empty() && !is_over.load(Ordering::Relaxed) {
            let count = burst.send(left)?;
            if count == 0 {
                thread::yield_now();
            }
            sent += count as u64;
            left = &left[count..];
        }
    }
    Ok(())
}

/// The sources of the SYNs, one after another.
struct Origins {
    sources: Sources,
    random: fastrand::Rng,
    /// The number of the next SYN.
    next: u32,
}

impl Origins {
    fn new(sources: Sources, random: fastrand::Rng) -> Self {
        Self {
            sources,
            random,
            next: 0,
        }
    }

    /// The address and the source port of the next SYN.
    fn next(&mut self) -> (Ipv4Addr, u16) {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        match self.sources {
            Sources::Random => (
                self.random.u32(RANDOM_SOURCES).into(),
                self.random.u16(1024..),
            ),
            Sources::One(source) => (source, self.random.u16(1024..)),
            Sources::Turns(count) => {
                let port = 1024 + number / count % (u32::from(u16::MAX) - 1024);
                let source = Ipv4Addr::from(RANDOM_SOURCES.start + number % count);
                (source, u16::try_from(port).unwrap_or_default())
            }
        }
    }
}

/// Offsets in an Ethernet frame with IPv4 and TCP headers without options.
const IP: usize = 14;
const IP_CHECKSUM: usize = IP + 10;
const IP_SOURCE: usize = IP + 12;
const TCP: usize = IP + 20;
const TCP_CHECKSUM: usize = TCP + 16;

/// A SYN whose addresses and ports are modified in place, which is much faster than a new frame.
#[derive(Clone, Debug)]
struct Syn(Vec<u8>);

impl Syn {
    fn new() -> Result<Self> {
        let any = |address: Ipv4Addr| SocketAddr::new(IpAddr::V4(address), 1);
        Frame::syn(any(Pair::CLIENT_V4), any(Pair::SERVER_V4))
            .bytes()
            .map(Self)
    }

    fn vary(&mut self, flood: &Flood, origins: &mut Origins) {
        let (source, source_port) = origins.next();
        let [high, low] = [0, 2].map(|at| {
            let octets = source.octets();
            u16::from_be_bytes([octets[at], octets[at + 1]])
        });
        for (at, value) in [(IP_SOURCE, high), (IP_SOURCE + 2, low)] {
            self.set(at, value, &[IP_CHECKSUM, TCP_CHECKSUM]);
        }
        self.set(TCP, source_port, &[TCP_CHECKSUM]);
        let port = origins.random.u16(flood.ports.clone());
        self.set(TCP + 2, port, &[TCP_CHECKSUM]);
    }

    /// Writes `value` at `at`, and updates the checksums that cover it (RFC 1624).
    fn set(&mut self, at: usize, value: u16, checksums: &[usize]) {
        let old = self.get(at);
        for &place in checksums {
            let sum = u32::from(!self.get(place)) + u32::from(!old) + u32::from(value);
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = (sum & 0xffff) + (sum >> 16);
            self.put(place, !u16::try_from(sum & 0xffff).unwrap_or_default());
        }
        self.put(at, value);
    }

    fn get(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    fn put(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modified_syn_is_valid() {
        for sources in [Sources::Random, Sources::Turns(7)] {
            let flood = Flood {
                packets: Packets::Syns,
                rate: None,
                sources,
                ports: 61000..61256,
            };
            let mut origins = Origins::new(sources, fastrand::Rng::with_seed(1));
            let mut syn = Syn::new().unwrap();
            for _ in 0..1000 {
                syn.vary(&flood, &mut origins);
                let [a, b, c, d] = syn.0[IP_SOURCE..IP_SOURCE + 4].try_into().unwrap();
                let source = SocketAddr::from(([a, b, c, d], syn.get(TCP)));
                let destination = SocketAddr::new(Pair::SERVER_V4.into(), syn.get(TCP + 2));
                assert!(flood.ports.contains(&destination.port()));
                let fresh = Frame::syn(source, destination).bytes().unwrap();
                assert_eq!(syn.0, fresh);
            }
        }
    }

    #[test]
    fn sources_in_turn_have_consecutive_ports() {
        let mut origins = Origins::new(Sources::Turns(2), fastrand::Rng::with_seed(1));
        let [first, second] = [0, 1].map(|place| Ipv4Addr::from(RANDOM_SOURCES.start + place));
        for port in 1024..2000 {
            assert_eq!(origins.next(), (first, port));
            assert_eq!(origins.next(), (second, port));
        }
    }
}
