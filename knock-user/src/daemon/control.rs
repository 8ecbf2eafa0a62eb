//! The Unix socket through which people watch the running daemon.
//!
//! A client sends one line, `status` or `tail`. The answer to the first is one line of JSON
//! ([`Status`]), to the second a line of JSON for every notice ([`super::report::Notice`])
//! until either side ends it.

pub mod client;
pub mod server;

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    report::{Counters, Tail},
    source::xdp::Attachment,
};

/// What the socket asks of the daemon's loop.
#[derive(Debug)]
pub enum Request {
    /// How is it going?
    Status(oneshot::Sender<Status>),
    /// Somebody follows from now on: his notices, and what the daemon listens to.
    Tail(oneshot::Sender<(Tail, String)>),
    /// Somebody has stopped following.
    TailEnded,
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
    /// Doors that are not closed.
    pub doors: Vec<DoorStatus>,
    /// Sources with a half-finished knock.
    pub sources_in_progress: usize,
    /// How many are following.
    pub tails: usize,
    /// The kernel's counters by [`knock_common::counters::Outcome::name`]; empty for lines.
    pub kernel: BTreeMap<String, u64>,
    /// The daemon's counters.
    pub daemon: Counters,
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
    /// `opening`, `open`, `run failed`, `closing` or `close failed`.
    pub state: String,
    /// Until it is closed.
    pub seconds_left: u64,
}
