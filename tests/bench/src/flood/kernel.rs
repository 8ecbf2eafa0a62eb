//! A flood at the highest possible rate, which the kernel generates.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Array, DevMap},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp as Program},
};
use knock_tests::{frame::Frame, link::Pair, netns::Namespace};
use nix::net::if_::if_nametoindex;

use super::definition::{Flood, Packets, RANDOM_SOURCES, Sources};

/// The checksum of a UDP datagram in an Ethernet frame whose IPv4 header has no options.
const UDP_CHECKSUM: Range<usize> = 40..42;

static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flood-xdp"));

/// Packets per system call. A call takes about 250 ms, because the kernel needs about 10 ms for its
/// cleanup.
const PACKETS: u32 = 1 << 18;

/// Packets per batch, as many as a network card delivers.
const BATCH: u32 = 64;

/// Sends `flood` from the client's interface until `is_over` is set.
pub(super) fn send(flood: &Flood, client: &Namespace, is_over: &AtomicBool) -> Result<()> {
    let mut ebpf = load(flood)?;
    let cable = ebpf
        .map_mut("CABLE")
        .context("the object contains no map `CABLE`")?;
    client.run(|| {
        let index = if_nametoindex(Pair::CLIENT_INTERFACE)?;
        Ok(DevMap::try_from(cable)?.set(0, index, None, 0)?)
    })?;
    let packet = packet(flood)?;
    while !is_over.load(Ordering::Relaxed) {
        program(&mut ebpf)?.test_run(TestRunOptions {
            data_in: Some(&packet),
            repeat: PACKETS,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        })?;
    }
    Ok(())
}

/// Loads the program and configures the packets.
fn load(flood: &Flood) -> Result<Ebpf> {
    let mut ebpf = Ebpf::load(PROGRAM)?;
    let (address, addresses) = match flood.sources {
        Sources::One(source) => (source.to_bits(), 1),
        Sources::Random => (
            RANDOM_SOURCES.start,
            RANDOM_SOURCES.end - RANDOM_SOURCES.start,
        ),
        Sources::Turns(_) => bail!("a flood at the highest rate has no sources in turn"),
    };
    let ports = u32::try_from(flood.ports.len())?;
    let ranges = ebpf
        .map_mut("RANGES")
        .context("the object contains no map `RANGES`")?;
    let ranges: Result<Array<_, [u32; 4]>, _> = ranges.try_into();
    ranges?.set(0, [address, addresses, flood.ports.start.into(), ports], 0)?;
    let loaded = program(&mut ebpf)?.load();
    loaded.context("the kernel rejects the flood program")?;
    Ok(ebpf)
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Program> {
    let program = ebpf.program_mut("flood_xdp");
    let program = program.context("the object contains no program `flood_xdp`")?;
    Ok(program.try_into()?)
}

/// The packet that the program modifies.
fn packet(flood: &Flood) -> Result<Vec<u8>> {
    let any = |address: Ipv4Addr| SocketAddr::new(IpAddr::V4(address), 1);
    frame(flood, any(Pair::CLIENT_V4), any(Pair::SERVER_V4))
}

/// A packet of `flood` with these addresses. A datagram has no checksum.
fn frame(flood: &Flood, source: SocketAddr, server: SocketAddr) -> Result<Vec<u8>> {
    match &flood.packets {
        Packets::Syns => Frame::syn(source, server).bytes(),
        Packets::Datagrams(payload) => {
            let datagram = Frame::datagram(source, server).payload(payload.as_slice());
            let mut bytes = datagram.bytes()?;
            bytes[UDP_CHECKSUM].fill(0);
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use knock_tests::needs_bpf;

    use super::*;

    #[test]
    fn the_program_makes_valid_packets() {
        needs_bpf!();
        let hostile = Ipv4Addr::new(198, 18, 0, 1);
        let datagrams = || Packets::Datagrams(vec![0xa5; 144]);
        for (packets, sources) in [
            (Packets::Syns, Sources::Random),
            (Packets::Syns, Sources::One(hostile)),
            (datagrams(), Sources::Random),
            (datagrams(), Sources::One(hostile)),
        ] {
            let flood = Flood {
                packets,
                rate: None,
                sources,
                ports: 61000..61256,
            };
            let mut ebpf = load(&flood).unwrap();
            let mut packet = packet(&flood).unwrap();
            for _ in 0..1000 {
                let before = packet.clone();
                // `CABLE` is empty, so the program sends nothing.
                program(&mut ebpf)
                    .unwrap()
                    .test_run(TestRunOptions {
                        data_in: Some(&before),
                        data_out: Some(&mut packet),
                        ..TestRunOptions::default()
                    })
                    .unwrap();
                let address = Ipv4Addr::from_octets(packet[26..30].try_into().unwrap());
                let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
                let is_expected = match sources {
                    Sources::One(source) => address == source,
                    _ => RANDOM_SOURCES.contains(&address.to_bits()),
                };
                assert!(is_expected && flood.ports.contains(&port(36)));
                let source = SocketAddr::new(address.into(), port(34));
                let server = SocketAddr::new(Pair::SERVER_V4.into(), port(36));
                assert_eq!(packet, frame(&flood, source, server).unwrap());
            }
        }
    }
}
