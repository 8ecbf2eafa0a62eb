//! The configuration file: read once and validated as a whole. A [`Config`] has no invalid state.

use std::{
    num::{NonZeroU16, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use knock_common::{
    protocol::{classic::Sequence, identity::KeyPair},
    rate::Rate,
    settings::Verdict,
    window::Window,
};
use knockd_types::{
    account::Account,
    conditions::Conditions,
    interface::Wanted,
    policy::{PreviousKey, Secret},
    rules::{Opening, Port, Rules},
};

use crate::{metrics, template::Template};

/// Default path of the configuration file (`--config`).
pub const DEFAULT_PATH: &str = "/etc/knockd/knockd.toml";

/// The longest path of a Unix socket, in bytes: `sun_path` of unix(7) without the terminating NUL.
pub const MAX_SOCKET_PATH: usize = 107;

/// Default path of the control socket (`control_socket`, `--socket`).
pub const DEFAULT_SOCKET: &str = "/run/knockd/knockd.sock";

/// Default directory of the replay store and the lease journal (`state_dir`).
pub const DEFAULT_STATE_DIR: &str = "/var/lib/knockd";

/// Default directory of the pinned BPF objects, which outlive the daemon (`gate.pin_dir`).
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/knockd";

/// What is appended, after a dot, to the name of a file for that of its new content, until this is put
/// in its place. A pattern of `include` does not match it.
pub const NEW_EXTENSION: &str = "knockd-new";

/// The beginning of the problem of a configuration without clients.
pub const NO_CLIENT: &str = "there is no [[client]]";

/// The daemon's validated configuration.
#[derive(Debug)]
pub struct Config {
    /// The files that it was read from: first the one that was named, then those that it includes.
    pub files: Vec<PathBuf>,
    /// Interfaces to attach to, unless the command line names others.
    pub interfaces: Wanted,
    /// Directory of the replay store and the lease journal.
    pub state_dir: PathBuf,
    /// The user that the listener runs as. `None` selects the default user.
    pub user: Option<Account>,
    /// The server's key pair. A configuration with clients that have key pairs, or with datagrams,
    /// has one.
    pub server: Option<KeyPair>,
    /// The largest accepted difference between a knock's timestamp and this host's clock.
    pub max_skew: Duration,
    /// The knock window: the 256 ports that receive knocks.
    pub window: Window,
    /// The XDP verdict for a SYN to the window.
    pub verdict: Verdict,
    /// How long a SYN is kept while the rest of its knock is missing.
    pub sequence_timeout: Duration,
    /// The Unix socket that `knockd tail`, `knockd status` and the other commands connect to.
    pub control_socket: PathBuf,
    /// The configurable limits.
    pub limits: Limits,
    /// The clients that may knock.
    pub clients: Vec<Client>,
    /// The doors that knocks open.
    pub doors: Vec<Door>,
    /// The port of datagram knocks, if they are accepted.
    pub datagram_port: Option<NonZeroU16>,
    /// The gate, if ports are protected in the kernel.
    pub gate: Option<Gate>,
    /// The metrics endpoint, if there is one.
    pub metrics: Option<metrics::Settings>,
}

/// The gate: ports that the eBPF program keeps closed.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The protected ports and the networks that are exempt.
    pub rules: Rules,
    /// What happens to the gate when the daemon stops.
    pub on_stop: OnStop,
    /// Directory of the pinned BPF objects, in a bpf filesystem.
    pub pin_dir: PathBuf,
}

/// What happens to the gate when the daemon stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// The gate stays in force.
    #[default]
    Closed,
    /// The gate is removed. Every address reaches the ports.
    Open,
}

/// The bounds of everything that untrusted network input could make grow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rate limit of ring buffer events per source, enforced in the kernel.
    pub events: Rate,
    /// Sources with an incomplete sequence. The least recently seen source is evicted first.
    pub sources: NonZeroUsize,
    /// Doors that are open at the same time, over all sources.
    pub open_doors: NonZeroUsize,
    /// Commands that run at the same time.
    pub commands: NonZeroUsize,
    /// How long a command may run before it is killed.
    pub command_timeout: Duration,
    /// Accepted knocks that one of the two files of the history has room for; 0 if there is none.
    pub history: u32,
}

/// A client that may knock.
#[derive(Debug)]
pub struct Client {
    /// The name, as in logs, doors and `%CLIENT%`.
    pub name: String,
    /// The key material. Its variant determines the protocol.
    pub secret: Secret,
    /// The key that the client had before, which is accepted for some time. Only a client with a
    /// key pair has one.
    pub previous: Option<PreviousKey>,
    /// When and from where the client may knock.
    pub conditions: Conditions,
    /// The index of the file that the client is in, in [`Config::files`].
    pub file: usize,
}

impl Client {
    /// The key material of the knocks that are accepted at `now`, in Unix milliseconds.
    pub fn secrets(&self, now: u64) -> impl Iterator<Item = &Secret> {
        let previous = self.previous.as_ref().filter(|key| now < key.until);
        std::iter::once(&self.secret).chain(previous.map(|key| &key.secret))
    }

    /// Whether knocks with this key material are accepted at `now`, in Unix milliseconds.
    #[must_use]
    pub fn has(&self, secret: &Secret, now: u64) -> bool {
        self.secrets(now).any(|one| one == secret)
    }
}

/// What a knock opens: ports of the gate, a command, or both.
#[derive(Clone, Debug)]
pub struct Door {
    /// The name, as in logs and `%DOOR%`. A knock refers to the door by a digest of this name.
    pub name: String,
    /// Indices of the clients that may open the door, in ascending order: those that it names,
    /// without those whose `doors` do not name it.
    pub clients: Vec<usize>,
    /// The sequence that a classic client sends.
    pub sequence: Option<Sequence>,
    /// The ports that are opened in the gate.
    pub opening: Opening,
    /// The command that runs when the door opens.
    pub run: Option<Template>,
    /// The command that runs when the door closes.
    pub close: Option<Template>,
    /// How long the door stays open.
    pub lease: Duration,
    /// The longest time that a knock may request.
    pub max_lease: Duration,
    /// Whether a knock has to be bound to its source address.
    pub require_binding: bool,
    /// Whether a datagram may open the door for another address than its own.
    pub allow_other: bool,
    /// The user and group that the commands run as. `None`: those of knockd.
    pub account: Option<Account>,
}

impl Door {
    /// Whether closing the door takes an action. Then an open door has to survive a crash in the
    /// lease journal.
    #[must_use]
    pub fn has_to_be_closed(&self) -> bool {
        self.close.is_some() || !self.opening.ports.is_empty()
    }
}

impl Config {
    /// Whether a client has a key pair. Its knocks are single-use, which needs the replay store.
    #[must_use]
    pub fn has_single_use_knocks(&self) -> bool {
        let mut clients = self.clients.iter();
        clients.any(|client| matches!(client.secret, Secret::Pair(_)))
    }

    /// Whether a door opens `port` in the gate.
    #[must_use]
    pub fn opens(&self, port: Port) -> bool {
        let mut openings = self.doors.iter().map(|door| &door.opening);
        openings.any(|opening| opening.ports.contains(&port))
    }

    /// The protected ports that no address can reach: no door opens them and no network is
    /// trusted. Valid, but probably a mistake.
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

/// Default limits, each with its reason.
pub(crate) mod default {
    use std::num::{NonZeroU32, NonZeroUsize};

    const fn u32(value: u32) -> NonZeroU32 {
        match NonZeroU32::new(value) {
            Some(value) => value,
            None => panic!("a limit is above zero"),
        }
    }

    const fn usize(value: usize) -> NonZeroUsize {
        match NonZeroUsize::new(value) {
            Some(value) => value,
            None => panic!("a limit is above zero"),
        }
    }

    /// Four complete knocks of 16 SYNs per second.
    pub(crate) const EVENTS_PER_SECOND: NonZeroU32 = u32(64);
    /// One knock with each SYN sent eight times.
    pub(crate) const EVENT_BURST: NonZeroU32 = u32(128);
    /// About 105 MiB if every source has a full queue.
    pub(crate) const SOURCES: NonZeroUsize = usize(65_536);
    /// More than people ever open at once. A few hundred bytes each.
    pub(crate) const OPEN_DOORS: NonZeroUsize = usize(4096);
    /// Four per open door. 1.5 MB of kernel memory.
    pub(crate) const LEASES: NonZeroU32 = u32(16_384);
    /// Enough for a burst of firewall scripts on a small host.
    pub(crate) const COMMANDS: NonZeroUsize = usize(16);
    /// 10 MiB for each of two files at most; with usual names a third of that for as many knocks.
    pub(crate) const HISTORY: u32 = 10_000;
}
