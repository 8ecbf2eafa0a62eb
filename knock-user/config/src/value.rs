//! The types of single values. Each type refuses invalid values during deserialization, so that
//! the error has a position. `check` validates values together.

use std::{
    fmt,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use knock_common::{
    legible::misleads,
    protocol::{classic, identity},
    window,
};
use knockd_runtime::history::MAX_KNOCKS;
use knockd_types::{
    interface::{Hook, Named},
    names::{BY_HAND, MAX_LEASE},
    rules::BPFFS,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::model::{DEFAULT_PIN_DIR, default};

/// A newtype that is validated during deserialization.
macro_rules! checked {
    ($(#[$doc:meta])+ $name:ident($inner:ty) from $from:literal) => {
        $(#[$doc])+
        #[derive(Clone, Deserialize)]
        #[serde(try_from = $from)]
        pub(crate) struct $name($inner);

        impl From<$name> for $inner {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

mod fleet;
mod moment;
mod network;

pub(super) use self::{
    fleet::{Node, Patience, Prefix, Server, ServerName},
    moment::Moment,
    network::{ClientNetwork, Network},
};

checked! {
    /// A client's or door's name: short and printable, so that it fits in a log line.
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
        if name.is_empty() || name.len() > 64 || name.chars().any(misleads) {
            return Err("a name has 1 to 64 bytes and no control or invisible characters");
        }
        if name == BY_HAND {
            return Err("this name is reserved for doors that are opened manually");
        }
        Ok(Self(name))
    }
}

checked! {
    /// A valid name of a network interface. The interface need not exist.
    InterfaceName(String) from "String"
}

/// An interface: its name, or a table with the name and how to attach to it.
pub(super) struct Interface(Named);

impl From<Interface> for Named {
    fn from(interface: Interface) -> Self {
        interface.0
    }
}

impl<'de> Deserialize<'de> for Interface {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InterfaceVisitor)
    }
}

struct InterfaceVisitor;

impl<'de> Visitor<'de> for InterfaceVisitor {
    type Value = Interface;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an interface's name, or a table such as { name = \"ppp0\", attach = \"tc\" }")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Interface, E> {
        let name = InterfaceName::try_from(name.to_owned()).map_err(E::custom)?;
        Ok(Interface(Named::from(name.0.as_str())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Interface, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            name: InterfaceName,
            #[serde(default)]
            attach: Hook,
        }

        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Interface(Named {
            name: table.name.into(),
            hook: table.attach,
        }))
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        // The kernel's dev_valid_name(), and ALTIFNAMSIZ without the terminating NUL.
        let reserved = name == "." || name == "..";
        if name.is_empty()
            || name.len() > 127
            || reserved
            || name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace())
        {
            return Err(
                "this is not a valid name of an interface: it has no `/`, `:` or space, and at most 15 characters, an alternative name 127",
            );
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
    /// The socket address of the metrics endpoint.
    Listen(SocketAddr) from "String"
}

impl TryFrom<String> for Listen {
    type Error = &'static str;

    fn try_from(listen: String) -> Result<Self, Self::Error> {
        // With port 0 the kernel chooses a port that Prometheus does not know.
        let listen = listen.parse().ok().filter(|at: &SocketAddr| at.port() != 0);
        let mistake = "this is not an address with a port, such as \"127.0.0.1:9811\"";
        listen.map(Self).ok_or(mistake)
    }
}

checked! {
    /// How many leading bits of an IPv6 address have to match the source of the knock. A prefix
    /// shorter than a provider's smallest allocation would admit unrelated hosts.
    Ipv6PrefixLen(u8) from "u8"
}

impl TryFrom<u8> for Ipv6PrefixLen {
    type Error = &'static str;

    fn try_from(len: u8) -> Result<Self, Self::Error> {
        if !(32..=128).contains(&len) {
            return Err("a prefix has 32 to 128 bits");
        }
        Ok(Self(len))
    }
}

checked! {
    /// How many leading bits of an IPv4 address have to match the source of the knock. Carriers
    /// change the last bits from connection to connection.
    Ipv4PrefixLen(u8) from "u8"
}

impl TryFrom<u8> for Ipv4PrefixLen {
    type Error = &'static str;

    fn try_from(len: u8) -> Result<Self, Self::Error> {
        if !(24..=32).contains(&len) {
            return Err("a prefix has 24 to 32 bits");
        }
        Ok(Self(len))
    }
}

checked! {
    /// A client's public key.
    PublicKey(identity::PublicKey) from "String"
}

impl TryFrom<String> for PublicKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let key = text.parse().map_err(|error: identity::PublicKeyError| {
            // A private key has as many characters, so it must not be repeated.
            format!("{error}: `knock pubkey` prints it on the client")
        })?;
        Ok(Self(key))
    }
}

checked! {
    /// The size of the gate's lease map. The kernel allocates it at once: 100 MB at the maximum.
    Leases(NonZeroU32) from "u32"
}

impl Default for Leases {
    fn default() -> Self {
        Self(default::LEASES)
    }
}

impl TryFrom<u32> for Leases {
    type Error = String;

    fn try_from(leases: u32) -> Result<Self, Self::Error> {
        const MAX: u32 = 1 << 20;
        NonZeroU32::new(leases)
            .filter(|leases| leases.get() <= MAX)
            .map(Self)
            .ok_or_else(|| format!("{leases} is not between 1 and {MAX}"))
    }
}

checked! {
    /// The accepted knocks that a file of the history has room for; 0 is none.
    History(u32) from "u32"
}

impl Default for History {
    fn default() -> Self {
        Self(default::HISTORY)
    }
}

impl TryFrom<u32> for History {
    type Error = String;

    fn try_from(knocks: u32) -> Result<Self, Self::Error> {
        // A few of them are written at once.
        const MIN: u32 = 100;
        if knocks != 0 && !(MIN..=MAX_KNOCKS).contains(&knocks) {
            return Err(format!(
                "{knocks} is neither 0 (no history) nor between {MIN} and {MAX_KNOCKS}"
            ));
        }
        Ok(Self(knocks))
    }
}

checked! {
    /// The path of an included file. One `*` in its name stands for any characters.
    Include(PathBuf) from "String"
}

impl TryFrom<String> for Include {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let path = PathBuf::from(&text);
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err("this names no file: write a path such as \"conf.d/*.toml\"");
        };
        if text.contains(misleads) {
            return Err("a path must not contain control or invisible characters");
        }
        if text.contains(['?', '[', '{']) {
            return Err("only `*` stands for other characters, as in \"conf.d/*.toml\"");
        }
        if text.matches('*').count() > 1 || text.contains('*') && !name.contains('*') {
            return Err("only the name of the file may contain a `*`, and only one");
        }
        Ok(Self(path))
    }
}

checked! {
    /// The longest gap between datagrams that extend a lease. The maximum, one day, is far beyond
    /// the keep-alive interval of any protocol.
    UdpIdle(Duration) from "String"
}

impl Default for UdpIdle {
    fn default() -> Self {
        Self(Duration::from_secs(120))
    }
}

impl TryFrom<String> for UdpIdle {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        whole_seconds_up_to(&text, DAY).map(Self)
    }
}

checked! {
    /// A directory for the gate alone, in a bpf filesystem.
    PinDir(PathBuf) from "PathBuf"
}

impl Default for PinDir {
    fn default() -> Self {
        Self(DEFAULT_PIN_DIR.into())
    }
}

impl TryFrom<PathBuf> for PinDir {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, Self::Error> {
        if !path.is_absolute() {
            return Err(format!(
                "`{}` is not an absolute path: it has to begin with `/`",
                path.display()
            ));
        }
        // Other bpf filesystems can be mounted later; they are checked when knockd starts.
        if let Ok(folder) = path.strip_prefix(BPFFS) {
            if folder == Path::new("") {
                return Err(format!(
                    "`{BPFFS}` is shared with other programs: use a directory below it, such as `{DEFAULT_PIN_DIR}`"
                ));
            }
            // The kernel's bpf_lookup() reserves names with a dot.
            if folder.as_os_str().as_encoded_bytes().contains(&b'.') {
                return Err(format!(
                    "`{}` contains a dot, which the bpf filesystem does not allow in names",
                    path.display()
                ));
            }
        }
        Ok(Self(path))
    }
}

checked! {
    /// A door's classic sequence.
    Sequence(classic::Sequence) from "Vec<u8>"
}

impl TryFrom<Vec<u8>> for Sequence {
    type Error = classic::InvalidLength;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        classic::Sequence::new(&bytes).map(Self)
    }
}

checked! {
    /// How long a SYN is kept while the rest of its knock is missing. More than ten minutes would
    /// only keep abandoned sequences.
    SequenceTimeout(Duration) from "String"
}

impl Default for SequenceTimeout {
    fn default() -> Self {
        Self(Duration::from_secs(15))
    }
}

impl TryFrom<String> for SequenceTimeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        duration_between(&text, SECOND, Duration::from_secs(600)).map(Self)
    }
}

checked! {
    /// The largest accepted clock difference of a single-use knock. The maximum, one day, bounds
    /// the replay store.
    MaxSkew(Duration) from "String"
}

impl Default for MaxSkew {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}

impl TryFrom<String> for MaxSkew {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        duration_between(&text, SECOND, DAY).map(Self)
    }
}

checked! {
    /// A time in whole seconds, the unit of `%FOR%`.
    Lease(Duration) from "String"
}

impl Lease {
    pub(super) const HALF_A_MINUTE: Self = Self(Duration::from_secs(30));
}

impl TryFrom<String> for Lease {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        whole_seconds_up_to(&text, MAX_LEASE).map(Self)
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn whole_seconds_up_to(text: &str, max: Duration) -> Result<Duration, String> {
    let duration = duration_between(text, SECOND, max)?;
    if duration.subsec_nanos() != 0 {
        return Err(format!("`{text}` is not a number of whole seconds"));
    }
    Ok(duration)
}

fn duration_between(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| {
        format!("`{text}` is not a duration such as \"30s\" or \"10m\": {error}")
    })?;
    if duration < min || duration > max {
        return Err(format!(
            "{text} is not between {} and {}",
            shown(min),
            shown(max)
        ));
    }
    Ok(duration)
}

/// A limit as one would write it: humantime counts months and years that have no whole number of days.
fn shown(limit: Duration) -> String {
    let days = limit.as_secs() / DAY.as_secs();
    if days > 1 && limit == DAY * u32::try_from(days).unwrap_or(u32::MAX) {
        return format!("{days}days");
    }
    humantime::format_duration(limit).to_string()
}
