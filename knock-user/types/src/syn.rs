//! One SYN to the window, as every source delivers it.

use std::{net::IpAddr, time::Duration};

use crate::names::is_unicast;

/// One SYN to a port of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    /// Who sent it, IPv4-mapped addresses as IPv4 addresses.
    pub source: IpAddr,
    /// The TCP source port; `None` where the source does not know it.
    pub source_port: Option<u16>,
    /// The destination port's place in the window.
    pub offset: u8,
    /// When it arrived, on `CLOCK_MONOTONIC`.
    pub at: Duration,
}

impl Syn {
    /// Whether its source can be a single host. Spoofed others are not worth a queue.
    #[must_use]
    pub fn has_unicast_source(&self) -> bool {
        is_unicast(self.source)
    }
}
