//! What a Prometheus server is told, over HTTP.
//!
//! The loop is asked for a [`Snapshot`], as it is for `status`; everything else, from the
//! connection to the text, happens beside it.

use std::collections::BTreeMap;

use knock_common::gate::Mode;

use knockd_types::{counters::Counters, status::Attachment};

/// The daemon at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
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
