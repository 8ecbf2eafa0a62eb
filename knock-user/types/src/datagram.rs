//! A datagram knock as the eBPF program reports it.

use std::{net::IpAddr, time::Duration};

use knock_common::datagram::DATAGRAM_LEN;

use crate::names::is_unicast;

/// A datagram whose `mac1` is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The source address. An IPv4-mapped address is converted to IPv4.
    pub source: IpAddr,
    /// The UDP source port.
    pub source_port: u16,
    /// The time of arrival on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// The payload.
    pub bytes: [u8; DATAGRAM_LEN],
}

impl Datagram {
    /// Whether the source is a unicast address. Any other source is spoofed.
    #[must_use]
    pub fn has_unicast_source(&self) -> bool {
        is_unicast(self.source)
    }
}
