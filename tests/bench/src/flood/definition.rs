//! What a flood consists of.

use std::{net::Ipv4Addr, ops::Range};

/// Source addresses of random SYNs. The benchmarks use none of them for anything else.
pub(super) const RANDOM_SOURCES: Range<u32> = 0x1000_0000..0x7000_0000;

/// SYNs with random source ports to random destination ports of a range.
#[derive(Clone, Debug)]
pub(crate) struct Flood {
    /// SYNs per second; unlimited if none.
    pub(crate) rate: Option<u32>,
    /// The source of every SYN; each SYN has a random one if none.
    pub(crate) source: Option<Ipv4Addr>,
    /// The destination ports.
    pub(crate) ports: Range<u16>,
}
