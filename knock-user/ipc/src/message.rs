//! What the keeper tells the listener.

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use knock_common::window::Window;
use serde::{Deserialize, Serialize};

use knockd_runtime::log;
use knockd_types::policy::Policy;
use knockd_types::{
    counters::Counters,
    event::Notice,
    status::{Attachment, DoorStatus, GateStatus, Refusal},
};

/// One message.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// Begin to listen. The first message; the files of [`StartupConfig`] come with it.
    Begin(Box<StartupConfig>),
    /// Another configuration is in force. The ring of the program that is new with it, if there
    /// is a program, comes with it as a file.
    Change(Box<ListenerConfig>),
    /// Something happened that whoever follows wants to see. It is in the log already.
    Notice(Box<Notice>),
    /// A knock has had an effect so long after its last SYN came.
    Took(Effect, Duration),
    /// A knock was right, but too many doors are open.
    Full {
        /// The client's number.
        client: u32,
        /// Who knocked.
        source: IpAddr,
    },
    /// The answer to [`Request::Report`](super::order::Request::Report).
    Report(u32, Box<Report>),
    /// The answer to every other question: the doors that it was about, or why not.
    Answer(u32, Result<Vec<String>, String>),
    /// Everything that the kernel had logged was told.
    Flushed,
    /// Are you there?
    Ping,
    /// A metrics exporter was started. The listener's end of the [channel](crate::metrics) to it
    /// comes with this as a file.
    Exporter,
}

/// What a knock leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// The gate is open.
    Gate,
    /// The door's command runs.
    Command,
}

/// How the listener begins.
///
/// The files that come with it, in this order: the control socket; the ring or the lines; the
/// folder of the store, if there is to be one.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartupConfig {
    /// How the log is written.
    pub log: log::Choice,
    /// Whose knocks open what.
    pub terms: ListenerConfig,
    /// Whether there are lines instead of a ring.
    pub reads_lines: bool,
    /// Where the store is, for a person; without one nothing is remembered.
    pub store: Option<PathBuf>,
    /// The user that may move doors by hand, besides root.
    pub owner: u32,
    /// When the daemon started, on the clock of [`monotonic`](crate::daemon::clock::monotonic).
    pub started: Duration,
}

/// What the listener has to know of the configuration.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListenerConfig {
    /// The first port of the window.
    window_base: u16,
    /// The largest accepted difference between a sealed knock's timestamp and this host's clock.
    pub max_skew: Duration,
    /// How long a SYN is kept while the rest of its knock is missing.
    pub sequence_timeout: Duration,
    /// Sources with a knock in progress at most.
    pub sources: NonZeroUsize,
    /// Who may open what.
    pub auth: Policy,
}

impl ListenerConfig {
    /// The terms of a configuration.
    #[must_use]
    pub fn new(
        window: Window,
        max_skew: Duration,
        sequence_timeout: Duration,
        sources: NonZeroUsize,
        auth: Policy,
    ) -> Self {
        Self {
            window_base: window.base(),
            max_skew,
            sequence_timeout,
            sources,
            auth,
        }
    }

    /// The ports that are knocked on.
    #[must_use]
    pub fn window(&self) -> Window {
        // It was a window's when this was made.
        Window::new(self.window_base).unwrap_or(Window::DEFAULT)
    }
}

/// How the keeper is doing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The interfaces or the lines that knocks come from, for a person.
    pub listening: String,
    /// The interfaces, with the mode that the program runs in.
    pub attachments: Vec<Attachment>,
    /// Interfaces that knocks are to come in on, and that are not there.
    pub awaited: Vec<String>,
    /// Interfaces that the program cannot be attached to.
    pub refused: Vec<Refusal>,
    /// The gate, if there is one.
    pub gate: Option<GateStatus>,
    /// Doors that are not closed.
    pub doors: Vec<DoorStatus>,
    /// Leases in the kernel, if there is a gate and they were to be counted.
    pub leases: Option<usize>,
    /// The kernel's counters; empty for lines.
    pub kernel: BTreeMap<String, u64>,
    /// What the keeper has counted.
    pub counters: Counters,
}
