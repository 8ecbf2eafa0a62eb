//! A flood that the kernel makes by itself, as fast as it can.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, DevMap},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp as Program},
};
use knock_tests::{frame::Frame, link::Pair, netns::Namespace};
use nix::net::if_::if_nametoindex;

use super::{ANYWHERE, Flood};

static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flood-xdp"));

/// SYNs that one system call makes: for a quarter of a second, since the kernel needs a hundredth
/// to put things away after each.
const SYNS: u32 = 1 << 18;

/// SYNs that go out together, as they come in from a network card.
const BATCH: u32 = 64;

/// Floods from the end of `client`'s cable until it `is_over`.
pub(super) fn pour(flood: &Flood, client: &Namespace, is_over: &AtomicBool) -> Result<()> {
    let mut ebpf = load(flood)?;
    let cable = ebpf
        .map_mut("CABLE")
        .context("the object holds no map `CABLE`")?;
    client.run(|| {
        let index = if_nametoindex(Pair::CLIENT_INTERFACE)?;
        Ok(DevMap::try_from(cable)?.set(0, index, None, 0)?)
    })?;
    let syn = syn()?;
    while !is_over.load(Ordering::Relaxed) {
        program(&mut ebpf)?.test_run(TestRunOptions {
            data_in: Some(&syn),
            repeat: SYNS,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        })?;
    }
    Ok(())
}

/// The program, which sends nothing yet.
fn load(flood: &Flood) -> Result<Ebpf> {
    let mut ebpf = Ebpf::load(PROGRAM)?;
    let (address, addresses) = match flood.source {
        Some(source) => (source.to_bits(), 1),
        None => (ANYWHERE.start, ANYWHERE.end - ANYWHERE.start),
    };
    let ports = u32::try_from(flood.ports.len())?;
    let ranges = ebpf
        .map_mut("RANGES")
        .context("the object holds no map `RANGES`")?;
    let ranges: Result<Array<_, [u32; 4]>, _> = ranges.try_into();
    ranges?.set(0, [address, addresses, flood.ports.start.into(), ports], 0)?;
    let loaded = program(&mut ebpf)?.load();
    loaded.context("the kernel does not take the program that floods")?;
    Ok(ebpf)
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Program> {
    let program = ebpf.program_mut("flood_xdp");
    let program = program.context("the object holds no program `flood_xdp`")?;
    Ok(program.try_into()?)
}

/// What all others are made of.
fn syn() -> Result<Vec<u8>> {
    let any = |address: Ipv4Addr| SocketAddr::new(IpAddr::V4(address), 1);
    Frame::syn(any(Pair::CLIENT_V4), any(Pair::SERVER_V4)).bytes()
}

#[cfg(test)]
mod tests {
    use knock_tests::needs_bpf;

    use super::*;

    #[test]
    fn the_program_makes_whole_syns() {
        needs_bpf!();
        let hostile = Ipv4Addr::new(198, 18, 0, 1);
        for source in [None, Some(hostile)] {
            let flood = Flood {
                rate: None,
                source,
                ports: 61000..61256,
            };
            let mut ebpf = load(&flood).unwrap();
            let mut frame = syn().unwrap();
            for _ in 0..1000 {
                let before = frame.clone();
                // Without the interface of its cable it sends nothing.
                program(&mut ebpf)
                    .unwrap()
                    .test_run(TestRunOptions {
                        data_in: Some(&before),
                        data_out: Some(&mut frame),
                        ..TestRunOptions::default()
                    })
                    .unwrap();
                let address = Ipv4Addr::from_octets(frame[26..30].try_into().unwrap());
                let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
                let is_meant = match source {
                    Some(source) => address == source,
                    None => ANYWHERE.contains(&address.to_bits()),
                };
                assert!(is_meant && flood.ports.contains(&port(36)));
                let source = SocketAddr::new(address.into(), port(34));
                let server = SocketAddr::new(Pair::SERVER_V4.into(), port(36));
                assert_eq!(frame, Frame::syn(source, server).bytes().unwrap());
            }
        }
    }
}
