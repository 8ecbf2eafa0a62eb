//! What a flood consists of.

use std::{net::Ipv4Addr, ops::Range};

/// Source addresses of random SYNs. The benchmarks use none of them for anything else.
pub(super) const RANDOM_SOURCES: Range<u32> = 0x1000_0000..0x7000_0000;

/// Where the SYNs of a flood come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    /// Each SYN has a random address and a random source port.
    Random,
    /// All have one address, and random source ports.
    One(Ipv4Addr),
    /// This many addresses in turn, each with consecutive source ports, as a client has: any 16 SYNs
    /// of one may be a knock. Only floods with a rate have them.
    Turns(u32),
}

/// The packets of a flood.
#[derive(Clone, Debug)]
pub(crate) enum Packets {
    /// SYNs.
    Syns,
    /// UDP datagrams with this payload. Only floods at the highest rate have them.
    Datagrams(Vec<u8>),
}

/// Packets to random destination ports of a range.
#[derive(Clone, Debug)]
pub(crate) struct Flood {
    /// What is sent.
    pub(crate) packets: Packets,
    /// Packets per second; unlimited if none.
    pub(crate) rate: Option<u32>,
    /// Where they come from.
    pub(crate) sources: Sources,
    /// The destination ports.
    pub(crate) ports: Range<u16>,
}
