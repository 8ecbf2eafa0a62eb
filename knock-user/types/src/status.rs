//! The state of a running daemon, as `knockd status` and metrics show it.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::counters::Counters;

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
    /// The kernel's counters by [`knock_common::counters::Outcome::name`]; empty with `--lines`.
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
    /// The source address that the door is open for.
    pub source: IpAddr,
    /// The ports that it opens in the kernel.
    pub ports: Vec<String>,
    /// `opening`, `open`, `run failed`, `closing` or `close failed`.
    pub state: String,
    /// Until it is closed.
    pub seconds_left: u64,
}

impl fmt::Display for DoorStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            door,
            client,
            source,
            ports,
            state,
            seconds_left,
        } = self;
        write!(
            f,
            "{door} to {source} (client {client}): {state}, {seconds_left} s left"
        )?;
        if !ports.is_empty() {
            write!(f, ", {}", ports.join(", "))?;
        }
        Ok(())
    }
}

/// How the program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver, before the kernel has made a packet of the frame.
    Native,
    /// In the kernel's stack: works with every driver, costs more.
    Generic,
}

impl Mode {
    /// The mode of this name, as [`Display`](fmt::Display) writes it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Native, Self::Generic]
            .into_iter()
            .find(|mode| mode.to_string() == name)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The interface's name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// How the program runs there.
    pub mode: Mode,
}

/// An interface that the program cannot be attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The interface's name.
    pub interface: String,
    /// Why, for a person.
    pub reason: String,
}
