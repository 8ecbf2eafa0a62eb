//! The configuration's values. What one of them can get wrong is refused here, by its type, so
//! that the error has its place; what several can get wrong together is the checker's business.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::{IpNet, Ipv6Net};
use knock_common::{protocol::classic, window};
use serde::Deserialize;

use crate::model::{DEFAULT_PIN_DIR, default};
use knockd_types::names::MAX_LEASE;
use knockd_types::{names::BY_HAND, rules::BPFFS};

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
        if name == BY_HAND {
            return Err("this is what knockd calls doors that were opened by hand");
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
    /// Where a server listens.
    Listen(SocketAddr) from "String"
}

impl TryFrom<String> for Listen {
    type Error = &'static str;

    fn try_from(listen: String) -> Result<Self, Self::Error> {
        // With port 0 nobody would know where to ask.
        let listen = listen.parse().ok().filter(|at: &SocketAddr| at.port() != 0);
        let mistake = "this is no address with a port, such as \"127.0.0.1:9811\"";
        listen.map(Self).ok_or(mistake)
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
    /// How many leases the gate can have. The kernel takes the memory for all of them at once:
    /// 100 MB for the most.
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
    /// A network, or a single address. No accepted network of IPv6 has IPv4-mapped addresses
    /// in it, and none is so large that it can only be a mistake.
    Network(IpNet) from "String"
}

impl Network {
    /// The largest private network of IPv4 is 10.0.0.0/8 (RFC 1918).
    const MIN_V4_LEN: u8 = 8;
    /// That of IPv6 is fc00::/7 (RFC 4193).
    const MIN_V6_LEN: u8 = 7;
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
        if network.prefix_len() == 0 {
            return Err(format!(
                "`{text}` is everybody; leave [gate] out if that is meant"
            ));
        }
        let min_len = match network {
            IpNet::V4(_) => Self::MIN_V4_LEN,
            IpNet::V6(network) => {
                refuse_ipv4_mapped(network, &text)?;
                Self::MIN_V6_LEN
            }
        };
        if network.prefix_len() < min_len {
            return Err(format!(
                "`{text}` is too large to be trusted: a network has a prefix of at least {min_len} bits here"
            ));
        }
        Ok(Self(network))
    }
}

/// Refuses a network, written as `text`, that IPv4 sources would be in, since the program knows them by their
/// IPv4-mapped addresses.
fn refuse_ipv4_mapped(network: Ipv6Net, text: &str) -> Result<(), String> {
    const IPV4: u8 = 96;
    if network.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()) && network.prefix_len() <= IPV4 {
        return Err(format!(
            "`{text}` is everybody with an IPv4 address, since the IPv4-mapped addresses are in it"
        ));
    }
    match network.addr().to_ipv4_mapped() {
        Some(address) => Err(format!(
            "`{text}` is a network of IPv4: write `{address}/{}`",
            network.prefix_len() - IPV4
        )),
        None => Ok(()),
    }
}

checked! {
    /// How far apart datagrams may be that keep a lease going. A day is far beyond any
    /// protocol's keep-alive.
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
    /// A folder of the gate alone, in a bpf filesystem.
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
                "`{}` does not begin with `/`, and knockd may be started anywhere",
                path.display()
            ));
        }
        // Other bpf filesystems are known when they are there, which is when knockd starts.
        if let Ok(folder) = path.strip_prefix(BPFFS) {
            if folder == Path::new("") {
                return Err(format!(
                    "`{BPFFS}` is everybody's: take a folder in it, such as `{DEFAULT_PIN_DIR}`"
                ));
            }
            // The kernel's bpf_lookup() keeps them for itself.
            if folder.as_os_str().as_encoded_bytes().contains(&b'.') {
                return Err(format!(
                    "`{}` has a dot in it, which no name in a bpf filesystem may have",
                    path.display()
                ));
            }
        }
        Ok(Self(path))
    }
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
    /// How far a sealed knock's time may be from this host's. A day bounds what has to be
    /// remembered; a clock that is further off should be set.
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
    /// A time in whole seconds, as `%FOR%` has it.
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
