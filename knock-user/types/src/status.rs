//! The state of a running daemon, as shown by `knockd status` and exported as metrics.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::counters::Counters;

/// The state of a running daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The time since its start, in seconds.
    pub uptime_seconds: u64,
    /// A description of the interfaces or the file that it listens to.
    pub listening: String,
    /// The first port of the window.
    pub window_base: u16,
    /// The interfaces that the XDP program is attached to.
    pub attachments: Vec<Attachment>,
    /// Configured interfaces that do not exist.
    pub awaited: Vec<String>,
    /// Interfaces that the XDP program cannot be attached to.
    pub refused: Vec<Refusal>,
    /// The gate, if configured.
    pub gate: Option<GateStatus>,
    /// Doors that are not closed.
    pub doors: Vec<DoorStatus>,
    /// The number of sources with an incomplete sequence.
    pub sources_in_progress: usize,
    /// The number of `tail` subscribers.
    pub tails: usize,
    /// Whether Landlock confines the processes that read network input.
    pub landlock: bool,
    /// The fleet, if this daemon is a node of one.
    #[serde(default)]
    pub fleet: Option<FleetStatus>,
    /// The counters of the XDP program, by [`knock_common::counters::Outcome::name`]. Empty with
    /// `--lines`.
    pub kernel: BTreeMap<String, u64>,
    /// The daemon's counters.
    pub daemon: Counters,
}

/// The state of the gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GateStatus {
    /// `enforce` or `observe`.
    pub mode: String,
    /// The protected ports.
    pub protect: Vec<String>,
    /// The networks that need no lease.
    pub trusted: Vec<String>,
    /// The number of leases, one for each source and port.
    pub leases: usize,
    /// Whether the gate is pinned and therefore stays in force after the daemon has exited.
    pub outlives_daemon: bool,
}

/// One door that is not closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DoorStatus {
    /// The door's name.
    pub door: String,
    /// The client that knocked last.
    pub client: String,
    /// The source address that the door is open for.
    pub source: IpAddr,
    /// The ports that it opens in the gate.
    pub ports: Vec<String>,
    /// `opening`, `open`, `run failed`, `closing`, `close failed` or `in use`.
    pub state: String,
    /// The time until it closes, in seconds.
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

/// How the program is attached, in the order in which the modes are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// XDP in the driver, before the kernel allocates an skb for the frame.
    Native,
    /// XDP in the network stack. Works with every driver, but costs more per packet.
    Generic,
    /// Traffic control (tc), after XDP. Works with every interface, also without Ethernet headers.
    Tc,
}

impl Mode {
    /// The mode in words, to follow "in".
    #[must_use]
    pub const fn described(self) -> &'static str {
        match self {
            Self::Native => "native XDP mode",
            Self::Generic => "generic XDP mode",
            Self::Tc => "tc mode",
        }
    }

    /// The mode with this name, the inverse of [`Display`](fmt::Display).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Native, Self::Generic, Self::Tc]
            .into_iter()
            .find(|mode| mode.to_string() == name)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc",
        })
    }
}

/// An interface that the XDP program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The interface's name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// How it is attached.
    pub mode: Mode,
    /// Whether the program sees the interface's packets.
    pub traffic: Traffic,
}

/// Whether an attached program sees the packets of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// The interface has received too few packets to tell.
    Awaited,
    /// The program has seen packets.
    Seen,
    /// The interface has received packets, and the program has seen none of them.
    Missed,
}

/// An interface that the XDP program cannot be attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The interface's name.
    pub interface: String,
    /// An error message for the administrator.
    pub reason: String,
}

/// The state of a node's fleet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetStatus {
    /// The name of this node.
    pub node: String,
    /// The version of the server of the engine that it is connected to, if it is.
    pub connected: Option<String>,
    /// Why it is not connected, if it is not.
    pub problem: Option<String>,
    /// Whether every claim was read that there was at the start.
    pub current: bool,
    /// Knocks and commands that wait for their claims.
    pub waiting: usize,
    /// Doors that are open on this node alone, and claims that are made when the engine is reached.
    pub unclaimed: usize,
    /// The names of the clients whose key is revoked.
    pub revoked: Vec<String>,
    /// SYN knocks of which this node has received a part, if there were several lately.
    #[serde(default)]
    pub knocks_with_holes: Option<KnocksWithHoles>,
    /// The nodes that were heard, this one among them.
    pub nodes: Vec<FleetNode>,
}

/// SYN knocks that have arrived with holes, as behind a balancer that chooses nodes by ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnocksWithHoles {
    /// How many.
    pub knocks: u64,
    /// How long ago the first one was noticed, in seconds.
    pub seconds: u64,
}

/// A node of a fleet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetNode {
    /// Its name.
    pub node: String,
    /// How long ago it was heard, in seconds.
    pub seconds_ago: u64,
    /// Its clock minus that of this node, in milliseconds.
    pub clock_offset_ms: i64,
    /// Whether its clients, doors and keys are those of this node.
    pub same_configuration: bool,
    /// Its version.
    pub version: String,
}

/// A door that a claim has opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetLease {
    /// The door's name.
    pub door: String,
    /// The client's name.
    pub client: String,
    /// The address that it is open for.
    pub source: IpAddr,
    /// The node that has received the knock.
    pub node: String,
    /// Whether it is open on every node. Otherwise it is open on that node.
    pub everywhere: bool,
    /// The time until it closes, in seconds.
    pub seconds_left: u64,
}
