//! A configuration that has been checked: the values that the daemon runs on.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use knock_common::{protocol::classic::Sequence, rate::Rate, settings::Verdict, window::Window};

use crate::{metrics, template::Template};
use knockd_types::{
    account::Account,
    interface::Wanted,
    policy::Secret,
    rules::{Opening, Port, Rules},
};

/// Where the configuration is looked for without `--config`.
pub const DEFAULT_PATH: &str = "/etc/knockd/knockd.toml";

/// Where the running daemon is reached without `control_socket` or `--socket`.
pub const DEFAULT_SOCKET: &str = "/run/knockd/knockd.sock";

/// Where the daemon keeps what it must not forget, without `state_dir`.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/knockd";

/// Where what outlives the daemon is pinned, without `gate.pin_dir`.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/knockd";

/// The daemon's configuration, valid as a whole.
#[derive(Debug)]
pub struct Config {
    /// Interfaces to attach to, unless the command line names others.
    pub interfaces: Wanted,
    /// Where accepted knocks are remembered.
    pub state_dir: PathBuf,
    /// Who the network-facing process runs as; by default whoever there is for it.
    pub user: Option<Account>,
    /// How far a sealed knock's time may be from this host's.
    pub max_skew: Duration,
    /// The ports that are knocked on.
    pub window: Window,
    /// What happens to a SYN to the window.
    pub verdict: Verdict,
    /// How long a SYN waits for the others of its knock.
    pub sequence_timeout: Duration,
    /// The Unix socket for `tail` and `status`.
    pub control_socket: PathBuf,
    /// Every bound that can be configured.
    pub limits: Limits,
    /// Who may knock.
    pub clients: Vec<Client>,
    /// What can be opened.
    pub doors: Vec<Door>,
    /// What the kernel keeps closed.
    pub gate: Option<Gate>,
    /// Where metrics are to be had, if anywhere.
    pub metrics: Option<metrics::Settings>,
}

/// What the kernel keeps closed, and what becomes of that when the daemon stops.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Which ports, and for whom not.
    pub rules: Rules,
    /// What becomes of it when the daemon stops.
    pub on_stop: OnStop,
    /// Where what outlives the daemon is pinned: a folder in a bpf filesystem.
    pub pin_dir: PathBuf,
}

/// What becomes of the gate when the daemon stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// It stays in force.
    #[default]
    Closed,
    /// It goes, and whoever wants to reaches the ports.
    Open,
}

/// The bounds of everything that somebody outside could make grow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events that one source may put on the ring, counted in the kernel.
    pub events: Rate,
    /// Sources with a knock in progress; the least recently seen one goes first.
    pub sources: NonZeroUsize,
    /// Doors open at the same time, over all sources.
    pub open_doors: NonZeroUsize,
    /// Commands running at the same time.
    pub commands: NonZeroUsize,
    /// How long a command may run.
    pub command_timeout: Duration,
}

/// Somebody who may knock.
#[derive(Debug)]
pub struct Client {
    /// His name in logs, doors and `%CLIENT%`.
    pub name: String,
    /// What his key is made of, which also says how he knocks.
    pub secret: Secret,
}

/// Something that a knock opens.
#[derive(Clone, Debug)]
pub struct Door {
    /// Its name in logs and `%DOOR%`, and what a sealed client knocks.
    pub name: String,
    /// Indices of the clients that may open it.
    pub clients: Vec<usize>,
    /// What a classic client knocks.
    pub sequence: Option<Sequence>,
    /// What is opened in the kernel.
    pub opening: Opening,
    /// What is run when it opens.
    pub run: Option<Template>,
    /// What is run when it closes.
    pub close: Option<Template>,
    /// How long it stays open.
    pub lease: Duration,
    /// How long it stays open at most for whom asks.
    pub max_lease: Duration,
    /// Whether a sealed knock has to name its source.
    pub require_binding: bool,
    /// Who its commands run as, if not as knockd itself.
    pub account: Option<Account>,
}

impl Door {
    /// Whether there is anything to be closed, so that an open door has to be known after a
    /// crash.
    #[must_use]
    pub fn has_to_be_closed(&self) -> bool {
        self.close.is_some() || !self.opening.ports.is_empty()
    }
}

impl Config {
    /// Whether there is a client whose knocks have to be remembered.
    #[must_use]
    pub fn has_sealed_clients(&self) -> bool {
        let mut clients = self.clients.iter();
        clients.any(|client| matches!(client.secret, Secret::Sealed(_)))
    }

    /// Whether a door opens `port` in the kernel.
    #[must_use]
    pub fn opens(&self, port: Port) -> bool {
        let mut openings = self.doors.iter().map(|door| &door.opening);
        openings.any(|opening| opening.ports.contains(&port))
    }

    /// The ports that the gate keeps closed to everybody for ever: no door opens them, and
    /// nobody is trusted. Right if that is meant, and probably forgotten if not.
    #[must_use]
    pub fn unreachable_ports(&self) -> Vec<Port> {
        let rules = self.gate.as_ref().map(|gate| &gate.rules);
        let protect = rules
            .filter(|rules| rules.trusted.is_empty())
            .map_or(&[][..], |rules| &rules.protect);
        let unopened = protect.iter().filter(|port| !self.opens(**port));
        unopened.copied().collect()
    }
}

/// Default bounds, each with its reason.
pub(crate) mod default {
    use std::num::{NonZeroU32, NonZeroUsize};

    const fn u32(value: u32) -> NonZeroU32 {
        match NonZeroU32::new(value) {
            Some(value) => value,
            None => panic!("a bound is above zero"),
        }
    }

    const fn usize(value: usize) -> NonZeroUsize {
        match NonZeroUsize::new(value) {
            Some(value) => value,
            None => panic!("a bound is above zero"),
        }
    }

    /// Four knocks a second, each with every SYN.
    pub(crate) const EVENTS_PER_SECOND: NonZeroU32 = u32(64);
    /// A knock in eight copies.
    pub(crate) const EVENT_BURST: NonZeroU32 = u32(128);
    /// About 105 MiB if every one of them held a full queue.
    pub(crate) const SOURCES: NonZeroUsize = usize(65_536);
    /// More visitors than a door for people ever has; a few hundred bytes each.
    pub(crate) const OPEN_DOORS: NonZeroUsize = usize(4096);
    /// Four for each of as many open doors, 1.5 MB of the kernel's memory.
    pub(crate) const LEASES: NonZeroU32 = u32(16_384);
    /// Enough for a burst of firewall scripts on a small machine.
    pub(crate) const COMMANDS: NonZeroUsize = usize(16);
}
