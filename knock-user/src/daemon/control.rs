//! The Unix socket through which people watch the running daemon and move its doors.
//!
//! A client sends one line of fields with tabs between them. The answer is one line of JSON:
//!
//! | request | answer |
//! |---|---|
//! | `status` | [`Status`] |
//! | `leases` | an array of [`DoorStatus`] |
//! | `open`, address, door, and perhaps seconds | [`Moved`] |
//! | `close`, address, and perhaps a door | [`Moved`] |
//! | `reload` | [`Moved`], of no doors |
//! | `tail` | a line for every notice ([`super::report::Notice`]) until either side ends it |
//! | `verdicts` | the same without the kernel's lines, which then are not even written |
//!
//! Whoever may connect may ask for `status`, `tail` and `verdicts`; the others are for root and
//! for the user that the daemon runs as.

pub mod client;
pub mod server;

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    metrics,
    report::{Counters, Tail},
    source::xdp::{Attachment, Refusal},
};

/// What the socket, or the HTTP server of [`metrics`], asks of the daemon's loop.
#[derive(Debug)]
pub enum Request {
    /// How is it going?
    Status(oneshot::Sender<Status>),
    /// What is there to be measured?
    Metrics(oneshot::Sender<metrics::Snapshot>),
    /// Somebody follows from now on: his notices, and what the daemon listens to.
    Tail(oneshot::Sender<(Tail, String)>),
    /// Somebody has stopped following.
    TailEnded,
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<Vec<String>, String>>),
    /// Like a tail, for somebody who has no use for the kernel's line for every SYN. Nobody
    /// needs to know when he stops.
    Verdicts(oneshot::Sender<(Tail, String)>),
    /// Which doors are open?
    Leases(oneshot::Sender<Vec<DoorStatus>>),
    /// Open a door.
    Open(OpenRequest, oneshot::Sender<Result<Vec<String>, String>>),
    /// Close doors.
    Close(CloseRequest, oneshot::Sender<Result<Vec<String>, String>>),
}

/// A door that is to be opened by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// To whom.
    pub source: IpAddr,
    /// The door's name.
    pub door: String,
    /// For how long, at least a second; as long as for a client if it is not given.
    pub seconds: Option<u64>,
}

/// Doors that are to be closed by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseRequest {
    /// To whom.
    pub source: IpAddr,
    /// The one door's name, or all that are open to him.
    pub door: Option<String>,
}

/// What became of a request to move a door.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moved {
    /// It is being done, for these doors.
    Doors(Vec<String>),
    /// It cannot be done.
    Error(String),
}

/// How the daemon is doing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Since it started.
    pub uptime_seconds: u64,
    /// The interfaces or the lines that it listens to, for a person.
    pub listening: String,
    /// The first port of the window.
    pub window_base: u16,
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
    /// Sources with a half-finished knock.
    pub sources_in_progress: usize,
    /// How many are following with `tail`.
    pub tails: usize,
    /// The kernel's counters by [`knock_common::counters::Outcome::name`]; empty for lines.
    pub kernel: BTreeMap<String, u64>,
    /// The daemon's counters.
    pub daemon: Counters,
}

/// What the kernel keeps closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GateStatus {
    /// `enforce` or `observe`.
    pub mode: String,
    /// The protected ports.
    pub protect: Vec<String>,
    /// The networks that need no lease.
    pub trusted: Vec<String>,
    /// Leases that doors have given, one for each source and port.
    pub leases: usize,
    /// Whether it is pinned, and stays in force when the daemon dies.
    pub outlives_daemon: bool,
}

/// One door that is not closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DoorStatus {
    /// The door's name.
    pub door: String,
    /// Who knocked last.
    pub client: String,
    /// To whom it is open.
    pub source: IpAddr,
    /// The ports that it opens in the kernel.
    pub ports: Vec<String>,
    /// `opening`, `open`, `run failed`, `closing` or `close failed`.
    pub state: String,
    /// Until it is closed.
    pub seconds_left: u64,
}
