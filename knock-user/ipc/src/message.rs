//! The messages of the supervisor to the listener.

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use knock_common::window::Window;
use knockd_runtime::log;
use knockd_types::{
    counters::Counters,
    event::Notice,
    fleet::{FleetKey, WhenUnreachable},
    policy::Policy,
    status::{Attachment, DoorStatus, GateStatus, Refusal},
};
use serde::{Deserialize, Serialize};

use crate::fleet::Hex;

/// A message of the supervisor to the listener.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// Start to listen. The first message, with the file descriptors of [`StartupConfig`].
    Begin(Box<StartupConfig>),
    /// Another configuration is in force. If packets come from an XDP program, the ring buffers of
    /// the new program are attached as file descriptors, as in [`StartupConfig`].
    Change(Box<ListenerConfig>),
    /// An event for subscribers. It is in the log already.
    Notice(Box<Notice>),
    /// The time from the arrival of a knock's last packet to an effect of the knock.
    Took(Effect, Duration),
    /// A knock was accepted, but too many doors are open.
    Full {
        /// The client's number.
        client: u32,
        /// The address that the door would be open for.
        source: IpAddr,
        /// The arrival of the knock's last packet, as in the request.
        at: Duration,
    },
    /// The answer to [`Request::Report`](crate::request::Request::Report), with its query number.
    Report(u32, Box<Report>),
    /// The answer to every other query, with its number: the names of the doors, or the reason for
    /// a refusal.
    Answer(u32, Result<Vec<String>, String>),
    /// All pending log lines of the eBPF program were sent as notices.
    Flushed,
    /// The listener answers with [`Request::Alive`](crate::request::Request::Alive).
    Ping,
    /// A metrics exporter was started. The listener's end of the [channel](crate::metrics) to it
    /// comes as a file descriptor.
    Exporter,
    /// A fleet process was started. The listener's end of the [channel](crate::fleet) to it comes as
    /// a file descriptor.
    Fleet,
}

/// An effect of a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// The gate is open.
    Gate,
    /// The door's command was started.
    Command,
}

/// The configuration of a new listener.
///
/// Its file descriptors, in this order: the control socket; the ring buffer of SYNs or the lines;
/// the ring buffer of datagrams, if the policy has the server's key; the directory of the replay
/// store, if there is one.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartupConfig {
    /// The log format.
    pub log: log::Choice,
    /// The part of the configuration that can be reloaded.
    pub config: ListenerConfig,
    /// Whether the listener reads lines instead of a ring buffer.
    pub reads_lines: bool,
    /// The path of the replay store, for the log; `None` without a replay store.
    pub store: Option<PathBuf>,
    /// The user that may open and close doors manually, besides root.
    pub owner: u32,
    /// The time at which the daemon started, on `CLOCK_MONOTONIC`.
    pub started: Duration,
}

/// The listener's part of the configuration.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListenerConfig {
    /// The first port of the window.
    window_base: u16,
    /// The largest accepted difference between a knock's timestamp and this host's clock.
    pub max_skew: Duration,
    /// How long a SYN of an incomplete sequence is kept.
    pub sequence_timeout: Duration,
    /// The maximum number of sources with an incomplete sequence.
    pub sources: NonZeroUsize,
    /// The clients, the doors, and which client may open which door.
    pub auth: Policy,
    /// The fleet, if this daemon is a node of one.
    pub fleet: Option<FleetConfig>,
}

/// A node's part of a fleet.
#[derive(Debug, Serialize, Deserialize)]
pub struct FleetConfig {
    /// The key of the fleet.
    pub key: FleetKey,
    /// The name of this node.
    pub node: String,
    /// What happens to a knock whose claim is not acknowledged in time.
    pub when_unreachable: WhenUnreachable,
    /// How long a knock waits for its claim.
    pub patience: Duration,
    /// A digest of what has to be the same on every node. The fleet's key is needed to make it.
    pub digest: Hex<16>,
}

impl ListenerConfig {
    /// The listener's part of a configuration with these values.
    #[must_use]
    pub fn new(
        window: Window,
        max_skew: Duration,
        sequence_timeout: Duration,
        sources: NonZeroUsize,
        auth: Policy,
        fleet: Option<FleetConfig>,
    ) -> Self {
        Self {
            window_base: window.base(),
            max_skew,
            sequence_timeout,
            sources,
            auth,
            fleet,
        }
    }

    /// The window: the ports whose SYNs make up knocks.
    #[must_use]
    pub fn window(&self) -> Window {
        // Taken from a window by `new`.
        Window::new(self.window_base).unwrap_or(Window::DEFAULT)
    }
}

/// The supervisor's state.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The interfaces or the lines that knocks come from, for display.
    pub listening: String,
    /// The attached interfaces, with the mode of the program.
    pub attachments: Vec<Attachment>,
    /// Configured interfaces that do not exist.
    pub awaited: Vec<String>,
    /// Interfaces that the program cannot be attached to.
    pub refused: Vec<Refusal>,
    /// The gate, if there is one.
    pub gate: Option<GateStatus>,
    /// Doors that are not closed.
    pub doors: Vec<DoorStatus>,
    /// The number of leases in the kernel, if it was requested and there is a gate.
    pub leases: Option<usize>,
    /// The kernel's counters; empty for lines.
    pub kernel: BTreeMap<String, u64>,
    /// The supervisor's counters.
    pub counters: Counters,
}
