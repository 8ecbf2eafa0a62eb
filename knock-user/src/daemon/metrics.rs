//! What a Prometheus server is told, over HTTP.
//!
//! The loop is asked for a [`Snapshot`], as it is for `status`; everything else, from the
//! connection to the text, happens beside it.

pub mod exporter;
pub mod latency;
pub mod page;

use std::{collections::BTreeMap, net::SocketAddr};

use knock_common::gate::Mode;

use super::{report::Counters, source::xdp::Attachment};

/// Where metrics are to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address and port of the HTTP server.
    pub listen: SocketAddr,
}

impl Settings {
    /// What the administrator has to know of these settings, if anything.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        // Of an IPv4-mapped address the IPv4 address in it says where it leads to.
        (!self.listen.ip().to_canonical().is_loopback()).then(|| {
            format!(
                "metrics.listen: whoever reaches {} can read there, without a password, which doors there are and when somebody knocks",
                self.listen
            )
        })
    }
}

/// The daemon at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The kernel's counters by [`knock_common::counters::Outcome::name`]; empty for lines.
    pub kernel: BTreeMap<String, u64>,
    /// The daemon's counters.
    pub daemon: Counters,
    /// Every door's name, and to how many sources it is not closed.
    pub open_doors: Vec<(String, usize)>,
    /// What the gate does with those who have not knocked, if there is one.
    pub gate: Option<Mode>,
    /// Leases in the kernel, one for each source and port, if they were counted.
    pub leases: Option<usize>,
    /// The interfaces, with the mode that the program runs in.
    pub attachments: Vec<Attachment>,
    /// Sources with a half-finished knock.
    pub sources_in_progress: usize,
    /// How many are following.
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
