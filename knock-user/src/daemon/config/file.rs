//! What stands in the configuration file, value by value. What one value can get wrong is
//! refused here, by its type, so that the error has its place; what two values can get
//! wrong together is the checker's business.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use knock_common::{gate, protocol::classic, settings, window};
use serde::Deserialize;
use toml::Spanned;

use super::{DEFAULT_PIN_DIR, DEFAULT_SOCKET, DEFAULT_STATE_DIR, Template, default};
use crate::daemon::gate::Port;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) interfaces: Vec<Interface>,
    #[serde(default = "Config::default_state_dir")]
    pub(super) state_dir: PathBuf,
    #[serde(default = "Config::default_max_skew")]
    pub(super) max_skew: MaxSkew,
    #[serde(default = "Config::default_sequence_timeout")]
    pub(super) sequence_timeout: SequenceTimeout,
    #[serde(default = "Config::default_control_socket")]
    pub(super) control_socket: PathBuf,
    #[serde(default)]
    pub(super) window: Window,
    pub(super) gate: Option<Gate>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) client: Vec<Client>,
    #[serde(default)]
    pub(super) door: Vec<Door>,
}

impl Config {
    fn default_state_dir() -> PathBuf {
        DEFAULT_STATE_DIR.into()
    }

    fn default_max_skew() -> MaxSkew {
        MaxSkew(Duration::from_secs(60))
    }

    fn default_sequence_timeout() -> SequenceTimeout {
        SequenceTimeout(Duration::from_secs(15))
    }

    fn default_control_socket() -> PathBuf {
        DEFAULT_SOCKET.into()
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
pub(super) struct Gate {
    pub(super) protect: Spanned<Vec<Spanned<Port>>>,
    #[serde(default)]
    pub(super) trusted: Vec<Spanned<Network>>,
    #[serde(default)]
    pub(super) mode: Mode,
    #[serde(default = "Gate::default_udp_idle")]
    pub(super) udp_idle: Lease,
    #[serde(default)]
    pub(super) on_stop: OnStop,
    #[serde(default = "Gate::default_pin_dir")]
    pub(super) pin_dir: PathBuf,
}

impl Gate {
    fn default_udp_idle() -> Lease {
        Lease(Duration::from_secs(120))
    }

    fn default_pin_dir() -> PathBuf {
        DEFAULT_PIN_DIR.into()
    }
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
pub(super) enum OnStop {
    #[default]
    Closed,
    Open,
}

impl From<OnStop> for super::OnStop {
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
    pub(super) leases: NonZeroU32,
    pub(super) commands: NonZeroUsize,
    pub(super) command_timeout: Lease,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            events_per_second: default::EVENTS_PER_SECOND,
            event_burst: default::EVENT_BURST,
            sources: default::SOURCES,
            open_doors: default::OPEN_DOORS,
            leases: default::LEASES,
            commands: default::COMMANDS,
            command_timeout: Lease(Duration::from_secs(30)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    pub(super) name: Spanned<Name>,
    #[serde(default)]
    pub(super) protocol: Protocol,
    pub(super) key_file: Option<Spanned<PathBuf>>,
    pub(super) passphrase_file: Option<Spanned<PathBuf>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    #[default]
    Sealed,
    Classic,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Door {
    pub(super) name: Spanned<Name>,
    pub(super) clients: Option<Spanned<Vec<Spanned<Name>>>>,
    pub(super) sequence: Option<Spanned<Sequence>>,
    pub(super) run: Option<Template>,
    #[serde(default)]
    pub(super) open: Vec<Spanned<Port>>,
    pub(super) ipv6_prefix: Option<Spanned<PrefixLen>>,
    pub(super) close: Option<Template>,
    #[serde(rename = "for", default = "Door::default_lease")]
    pub(super) lease: Lease,
    pub(super) max_for: Option<Spanned<Lease>>,
    #[serde(default)]
    pub(super) require_binding: bool,
}

impl Door {
    fn default_lease() -> Lease {
        Lease(Duration::from_secs(30))
    }
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

/// A value that is checked when it is read, and then known to be what it is named.
macro_rules! checked {
    ($(#[$doc:meta])+ $name:ident($inner:ty) from $from:literal) => {
        $(#[$doc])+
        #[derive(Clone, Deserialize)]
        #[serde(try_from = $from)]
        pub(super) struct $name($inner);

        impl From<$name> for $inner {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

checked! {
    /// A client's or door's name: short, printable, fit for a log line.
    Name(String) from "String"
}

impl Name {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            return Err("a name has 1 to 64 bytes and no control characters");
        }
        Ok(Self(name))
    }
}

checked! {
    /// A network interface's name, as far as its form can tell.
    Interface(String) from "String"
}

impl TryFrom<String> for Interface {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        // The kernel's dev_valid_name(): IFNAMSIZ is 16 with the terminating NUL.
        let reserved = name == "." || name == "..";
        if name.is_empty()
            || name.len() > 15
            || reserved
            || name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace())
        {
            return Err("this cannot be the name of an interface");
        }
        Ok(Self(name))
    }
}

checked! {
    /// The base of the window.
    Base(window::Window) from "u16"
}

impl Default for Base {
    fn default() -> Self {
        Self(window::Window::DEFAULT)
    }
}

impl TryFrom<u16> for Base {
    type Error = window::InvalidBase;

    fn try_from(base: u16) -> Result<Self, Self::Error> {
        window::Window::new(base).map(Self)
    }
}

checked! {
    /// How much of an IPv6 address has to agree with that of who knocked. Less than a
    /// provider's smallest allocation would open a door to strangers.
    PrefixLen(u8) from "u8"
}

impl TryFrom<u8> for PrefixLen {
    type Error = &'static str;

    fn try_from(len: u8) -> Result<Self, Self::Error> {
        if !(32..=128).contains(&len) {
            return Err("a prefix has 32 to 128 bits");
        }
        Ok(Self(len))
    }
}

checked! {
    /// A network, or a single address.
    Network(IpNet) from "String"
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse().map_err(|_| {
                format!("`{text}` is no network such as \"192.0.2.0/24\", and no address")
            })?,
        };
        if network.trunc() != network {
            return Err(format!(
                "`{text}` has bits behind its prefix: the network is {}",
                network.trunc()
            ));
        }
        if is_everybody(&network) {
            return Err(format!(
                "`{text}` would be everybody{}; leave [gate] out if that is meant",
                if network.prefix_len() > 0 {
                    " with an IPv4 address too"
                } else {
                    ""
                }
            ));
        }
        Ok(Self(network))
    }
}

/// Whether a whole family is in `network`: IPv4 is also in the IPv6 networks that hold the
/// IPv4-mapped addresses.
fn is_everybody(network: &IpNet) -> bool {
    network.prefix_len() == 0
        || matches!(network, IpNet::V6(network)
            if network.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()))
}

checked! {
    /// A door's sequence.
    Sequence(classic::Sequence) from "Vec<u8>"
}

impl TryFrom<Vec<u8>> for Sequence {
    type Error = classic::InvalidLength;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        classic::Sequence::new(&bytes).map(Self)
    }
}

checked! {
    /// How long a SYN waits for the rest of its knock. Longer than ten minutes only keeps
    /// attempts alive that were given up long ago.
    SequenceTimeout(Duration) from "String"
}

impl TryFrom<String> for SequenceTimeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        duration_between(&text, Duration::from_secs(1), Duration::from_secs(600)).map(Self)
    }
}

checked! {
    /// How far a sealed knock's time may be from this host's. A day bounds what has to be
    /// remembered; a clock that is further off should be set.
    MaxSkew(Duration) from "String"
}

impl TryFrom<String> for MaxSkew {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        duration_between(&text, Duration::from_secs(1), DAY).map(Self)
    }
}

checked! {
    /// A time in whole seconds, as `%FOR%` has it.
    Lease(Duration) from "String"
}

impl TryFrom<String> for Lease {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let duration = duration_between(&text, Duration::from_secs(1), YEAR)?;
        if duration.subsec_nanos() != 0 {
            return Err(format!("`{text}` is not a number of whole seconds"));
        }
        Ok(Self(duration))
    }
}

fn duration_between(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is no duration such as \"30s\" or \"10m\": {error}"))?;
    if duration < min || duration > max {
        return Err(format!(
            "{text} is not between {} and {}",
            humantime::format_duration(min),
            humantime::format_duration(max)
        ));
    }
    Ok(duration)
}
