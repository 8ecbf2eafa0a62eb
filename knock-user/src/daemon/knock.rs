//! One SYN to the window, as every source delivers it.

use std::{net::IpAddr, time::Duration};

/// One SYN to a port of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knock {
    /// Who sent it, IPv4-mapped addresses as IPv4 addresses.
    pub source: IpAddr,
    /// The TCP source port; `None` where the source does not know it.
    pub source_port: Option<u16>,
    /// The destination port's place in the window.
    pub offset: u8,
    /// When it arrived, see [`super::clock::monotonic`].
    pub at: Duration,
}

impl Knock {
    /// Whether its source can be a single host. Spoofed others are not worth a queue.
    #[must_use]
    pub fn has_unicast_source(&self) -> bool {
        is_unicast(self.source)
    }
}

/// Whether `address` can be a single host's. No command should ever be given another one.
#[must_use]
pub fn is_unicast(address: IpAddr) -> bool {
    let special = match address {
        IpAddr::V4(address) => {
            address.is_unspecified() || address.is_multicast() || address.is_broadcast()
        }
        IpAddr::V6(address) => address.is_unspecified() || address.is_multicast(),
    };
    !special
}
