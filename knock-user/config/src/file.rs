//! The serde types of the configuration file and of the files that it includes, table by table.

use std::{
    num::{NonZeroU16, NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use knock_common::{gate, settings};
use knockd_types::{fleet::WhenUnreachable, rules::Port};
use serde::Deserialize;
use toml::Spanned;

use crate::{
    model::{self, DEFAULT_STATE_DIR, default},
    socket::SocketPath,
    template::Template,
    value::{
        Base, ClientNetwork, History, Include, Interface, Ipv4PrefixLen, Ipv6PrefixLen, Lease,
        Leases, Listen, MaxSkew, Moment, Name, Network, Node, Patience, PinDir, Prefix, PublicKey,
        Sequence, SequenceTimeout, Server, ServerName, UdpIdle,
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) interfaces: Vec<Interface>,
    #[serde(default = "Config::default_state_dir")]
    pub(super) state_dir: PathBuf,
    pub(super) user: Option<Spanned<String>>,
    pub(super) server_key_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub(super) max_skew: MaxSkew,
    #[serde(default)]
    pub(super) sequence_timeout: SequenceTimeout,
    #[serde(default)]
    pub(super) control_socket: SocketPath,
    #[serde(default)]
    pub(super) window: Window,
    pub(super) datagram: Option<Datagram>,
    pub(super) gate: Option<Gate>,
    pub(super) metrics: Option<Metrics>,
    pub(super) fleet: Option<Fleet>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) include: Vec<Spanned<Include>>,
    #[serde(default)]
    pub(super) client: Vec<Client>,
    #[serde(default)]
    pub(super) door: Vec<Door>,
}

/// An included file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Included {
    #[serde(default)]
    pub(super) client: Vec<Client>,
    #[serde(default)]
    pub(super) door: Vec<Door>,
}

impl Config {
    fn default_state_dir() -> PathBuf {
        DEFAULT_STATE_DIR.into()
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Window {
    pub(super) base: Base,
    pub(super) verdict: Verdict,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Datagram {
    pub(super) port: Spanned<NonZeroU16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gate {
    pub(super) protect: Spanned<Vec<Spanned<Port>>>,
    #[serde(default)]
    pub(super) trusted: Vec<Spanned<Network>>,
    #[serde(default)]
    pub(super) forward: Forward,
    #[serde(default)]
    pub(super) addresses: Vec<Spanned<Network>>,
    #[serde(default)]
    pub(super) mode: Mode,
    #[serde(default)]
    pub(super) udp_idle: UdpIdle,
    #[serde(default)]
    pub(super) on_stop: OnStop,
    #[serde(default)]
    pub(super) pin_dir: PinDir,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) listen: Listen,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fleet {
    pub(super) engine: Spanned<Vec<Server>>,
    pub(super) server_name: ServerName,
    pub(super) ca: Spanned<PathBuf>,
    pub(super) certificate: Spanned<PathBuf>,
    pub(super) certificate_key: Spanned<PathBuf>,
    pub(super) key_file: Spanned<PathBuf>,
    pub(super) node: Option<Node>,
    #[serde(default)]
    pub(super) prefix: Prefix,
    #[serde(default)]
    pub(super) when_unreachable: WhenUnreachable,
    #[serde(default)]
    pub(super) patience: Patience,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    #[default]
    Enforce,
    Observe,
}

impl From<Mode> for gate::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Enforce => Self::Enforce,
            Mode::Observe => Self::Observe,
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Forward {
    #[default]
    Pass,
    Judge,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnStop {
    #[default]
    Closed,
    Open,
}

impl From<OnStop> for model::OnStop {
    fn from(on_stop: OnStop) -> Self {
        match on_stop {
            OnStop::Closed => Self::Closed,
            OnStop::Open => Self::Open,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) events_per_second: NonZeroU32,
    pub(super) event_burst: NonZeroU32,
    pub(super) sources: NonZeroUsize,
    pub(super) open_doors: NonZeroUsize,
    pub(super) leases: Leases,
    pub(super) commands: NonZeroUsize,
    pub(super) command_timeout: Lease,
    pub(super) history: History,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            events_per_second: default::EVENTS_PER_SECOND,
            event_burst: default::EVENT_BURST,
            sources: default::SOURCES,
            open_doors: default::OPEN_DOORS,
            leases: Leases::default(),
            commands: default::COMMANDS,
            command_timeout: Lease::HALF_A_MINUTE,
            history: History::default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    /// The index of the file that it is in.
    #[serde(skip)]
    pub(super) file: usize,
    pub(super) name: Spanned<Name>,
    #[serde(default)]
    pub(super) protocol: Protocol,
    pub(super) public_key: Option<Spanned<PublicKey>>,
    pub(super) previous_key: Option<Spanned<PublicKey>>,
    pub(super) previous_until: Option<Spanned<Moment>>,
    pub(super) passphrase_file: Option<Spanned<PathBuf>>,
    pub(super) expires: Option<Moment>,
    pub(super) from: Option<Spanned<Vec<Spanned<ClientNetwork>>>>,
    pub(super) doors: Option<Spanned<Vec<Spanned<Name>>>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    #[default]
    Knock2,
    Classic,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Door {
    /// The index of the file that it is in.
    #[serde(skip)]
    pub(super) file: usize,
    pub(super) name: Spanned<Name>,
    pub(super) clients: Option<Spanned<Vec<Spanned<Name>>>>,
    pub(super) sequence: Option<Spanned<Sequence>>,
    pub(super) run: Option<Template>,
    pub(super) open: Option<Spanned<Vec<Spanned<Port>>>>,
    pub(super) ipv4_prefix: Option<Spanned<Ipv4PrefixLen>>,
    pub(super) ipv6_prefix: Option<Spanned<Ipv6PrefixLen>>,
    pub(super) close: Option<Template>,
    #[serde(rename = "for", default = "Door::default_lease")]
    pub(super) lease: Lease,
    pub(super) max_for: Option<Spanned<Lease>>,
    #[serde(default)]
    pub(super) require_binding: bool,
    #[serde(default)]
    pub(super) allow_other: bool,
    #[serde(rename = "where", default)]
    pub(super) place: Place,
    pub(super) user: Option<Spanned<String>>,
    pub(super) group: Option<Spanned<String>>,
}

impl Door {
    fn default_lease() -> Lease {
        Lease::HALF_A_MINUTE
    }
}

/// On which nodes of the fleet a door opens.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    #[default]
    Everywhere,
    Here,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    #[default]
    Drop,
    Pass,
}

impl From<Verdict> for settings::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Drop => Self::Drop,
            Verdict::Pass => Self::Pass,
        }
    }
}
