//! A knock datagram, independent of how it was captured.

use std::{net::IpAddr, time::Duration};

use knock_common::datagram::DATAGRAM_LEN;

use crate::names::is_unicast;

/// A datagram to the port of knock datagrams whose length and `mac1` are right.
#[derive(Clone, Debug, PartialEq, Eq)]
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
