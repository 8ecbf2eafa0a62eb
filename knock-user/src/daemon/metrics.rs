//! Metrics for Prometheus over HTTP.
//!
//! The event loop provides a [`Snapshot`], as for `status`. Separate tasks handle connections and
//! formatting.

pub mod exporter;
pub mod latency;
pub mod page;

use std::{collections::BTreeMap, net::SocketAddr};

use knock_common::gate::Mode;

use super::{report::Counters, source::xdp::Attachment};

/// The settings of the metrics endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address and port of the HTTP server.
    pub listen: SocketAddr,
}

impl Settings {
    /// A warning for the administrator about these settings, if necessary.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        // An IPv4-mapped address is reachable like the IPv4 address in it.
        (!self.listen.ip().to_canonical().is_loopback()).then(|| {
            format!(
                "metrics.listen: anyone who can connect to {} can read the names of doors and the times of knocks, without authentication",
                self.listen
            )
        })
    }
}

/// The state of the daemon at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The kernel's counters by [`knock_common::counters::Outcome::name`]; empty with `--lines`.
    pub kernel: BTreeMap<String, u64>,
    /// The daemon's counters.
    pub daemon: Counters,
    /// The name of every door, and the number of sources that it is open for.
    pub open_doors: Vec<(String, usize)>,
    /// The mode of the gate, if there is one.
    pub gate: Option<Mode>,
    /// The number of leases in the kernel, one per source and port, if they were counted.
    pub leases: Option<usize>,
    /// The interfaces that the XDP program is attached to, with the attach mode.
    pub attachments: Vec<Attachment>,
    /// The number of sources with an incomplete sequence.
    pub sources_in_progress: usize,
    /// The number of `tail` subscribers.
    pub tails: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_others_reach_is_warned_of() {
        let warning = |listen: &str| {
            let listen = listen.parse().unwrap();
            Settings { listen }.warning()
        };
        for own in [
            "127.0.0.1:9811",
            "127.8.0.1:1",
            "[::1]:9811",
            "[::ffff:127.0.0.1]:9811",
        ] {
            assert_eq!(warning(own), None, "{own}");
        }
        for reached in [
            "0.0.0.0:9811",
            "[::]:9811",
            "192.0.2.1:9811",
            "[::ffff:192.0.2.1]:9811",
        ] {
            assert!(warning(reached).unwrap().contains(reached), "{reached}");
        }
    }
}
