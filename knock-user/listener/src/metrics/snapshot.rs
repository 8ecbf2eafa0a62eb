//! Metrics for Prometheus over HTTP.
//!
//! The event loop provides a [`Snapshot`], as for `status`. Separate tasks handle connections and
//! formatting.

use std::collections::BTreeMap;

use knock_common::gate::Mode;

use knockd_types::{counters::Counters, status::Attachment};

/// The state of the daemon at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
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
    /// The interfaces, with the mode that the program runs in.
    pub attachments: Vec<Attachment>,
    /// Sources with a half-finished knock.
    pub sources_in_progress: usize,
    /// The number of `tail` subscribers.
    pub tails: usize,
}
