//! A SYN to the window, independent of how it was captured.

use std::{net::IpAddr, time::Duration};

use crate::names::is_unicast;

/// A SYN to a port of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    /// The source address. An IPv4-mapped address is converted to IPv4.
    pub source: IpAddr,
    /// The TCP source port. `None` with `--lines`, which does not provide it.
    pub source_port: Option<u16>,
    /// The destination port minus the base of the window.
    pub offset: u8,
    /// The time of arrival on `CLOCK_MONOTONIC`.
    pub at: Duration,
}

impl Syn {
    /// Whether the source is a unicast address. Any other source is spoofed.
    #[must_use]
    pub fn has_unicast_source(&self) -> bool {
        is_unicast(self.source)
    }
}
