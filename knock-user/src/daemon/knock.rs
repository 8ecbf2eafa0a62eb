//! One SYN to the window, as every source delivers it.

use std::{net::IpAddr, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// One SYN to a port of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knock {
    /// Who sent it, IPv4-mapped addresses as IPv4 addresses.
    pub source: IpAddr,
    /// The TCP source port; `None` where the source does not know it.
    pub source_port: Option<u16>,
    /// The destination port's place in the window.
    pub offset: u8,
    /// When it arrived, see [`monotonic`].
    pub at: Duration,
}

impl Knock {
    /// Whether its source can be a single host. Spoofed others are not worth a queue, and
    /// no command should ever be given one.
    #[must_use]
    pub fn has_unicast_source(&self) -> bool {
        let special = match self.source {
            IpAddr::V4(address) => {
                address.is_unspecified() || address.is_multicast() || address.is_broadcast()
            }
            IpAddr::V6(address) => address.is_unspecified() || address.is_multicast(),
        };
        !special
    }
}

/// The time on `CLOCK_MONOTONIC`, which the kernel's half stamps events with. Setting the
/// wall clock does not move it.
#[must_use]
pub fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    // The clock starts at zero and only grows.
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}
