//! Ports, leases and rules of the gate, independent of the BPF maps that enforce them.

use std::{
    fmt,
    net::IpAddr,
    num::{NonZeroU32, NonZeroU64},
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;
use knock_common::{
    address::Address,
    gate::{HOST, LeaseKey, Mode, PrefixLens, Transport},
    settings::{self, Destinations},
};
use serde::Deserialize;
use thiserror::Error;

/// A port of this host: `tcp/22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Port {
    /// The transport protocol.
    pub transport: Transport,
    /// The port number, at least 1.
    pub number: u16,
}

/// The text is not a [`Port`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a port such as \"tcp/22\" or \"udp/51820\"")]
pub struct InvalidPort(String);

impl FromStr for Port {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, InvalidPort> {
        let invalid = || InvalidPort(text.to_owned());
        let (transport, number) = text.split_once('/').ok_or_else(invalid)?;
        let transport = match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(invalid()),
        };
        // `parse` would accept a sign.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        match number.parse() {
            Ok(number) if number > 0 => Ok(Self { transport, number }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        write!(f, "{transport}/{}", self.number)
    }
}

impl TryFrom<String> for Port {
    type Error = InvalidPort;

    fn try_from(text: String) -> Result<Self, InvalidPort> {
        text.parse()
    }
}

/// The ports that a door opens in the gate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// The ports.
    pub ports: Vec<Port>,
    /// The number of leading bits of an IPv4 address that have to match the source of the knock: up
    /// to 32.
    pub ipv4_prefix: u8,
    /// The number of leading bits of an IPv6 address that have to match the source of the knock.
    pub ipv6_prefix: u8,
}

impl Opening {
    /// The keys of the leases that admit `source`, one for each port.
    #[must_use]
    pub fn keys(&self, source: IpAddr) -> Vec<LeaseKey> {
        let prefix_len = match source {
            IpAddr::V4(_) => mapped_len(self.ipv4_prefix),
            IpAddr::V6(_) => self.ipv6_prefix,
        };
        let source = Address::from(source);
        let key = |port: &Port| LeaseKey::new(source, prefix_len, port.transport, port.number);
        self.ports.iter().map(key).collect()
    }
}

/// The ports that the gate protects, and the exemptions.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The ports that only sources with a lease and trusted networks can reach.
    pub protect: Vec<Port>,
    /// The networks that need no lease. No IPv6 network contains IPv4-mapped addresses.
    pub trusted: Vec<IpNet>,
    /// To which packets the gate applies.
    pub destinations: Destinations,
    /// The networks of [`Destinations::Listed`]. No IPv6 network contains IPv4-mapped addresses.
    pub addresses: Vec<IpNet>,
    /// Whether other packets to protected ports are dropped or only counted.
    pub mode: Mode,
    /// The longest gap between datagrams that extend a lease; above zero.
    pub udp_idle: Duration,
    /// The prefix lengths of IPv4 leases, each in IPv4-mapped form.
    pub ipv4_prefix_lens: PrefixLens,
    /// The prefix lengths of IPv6 leases.
    pub prefix_lens: PrefixLens,
    /// The size of the lease map.
    pub max_leases: NonZeroU32,
}

impl Rules {
    /// The settings of the XDP program, besides the content of its maps.
    #[must_use]
    pub fn settings(&self) -> settings::Gate {
        let protects = |transport| self.protect.iter().any(|port| port.transport == transport);
        settings::Gate {
            mode: self.mode,
            tcp: protects(Transport::Tcp),
            udp: protects(Transport::Udp),
            trusted: !self.trusted.is_empty(),
            destinations: self.destinations,
            ipv4_prefix_lens: self.ipv4_prefix_lens,
            prefix_lens: self.prefix_lens,
            udp_idle_ns: NonZeroU64::new(nanoseconds(self.udp_idle)).unwrap_or(NonZeroU64::MIN),
        }
    }
}

/// The length of an IPv4 prefix of `len` bits in IPv4-mapped form.
#[must_use]
pub const fn mapped_len(len: u8) -> u8 {
    (HOST - 32).saturating_add(len)
}

/// `time` in nanoseconds, the unit of the kernel's clocks. Saturates at [`u64::MAX`].
#[must_use]
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The conventional mount point of the bpf filesystem.
pub const BPFFS: &str = "/sys/fs/bpf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_with_their_protocol() {
        for text in ["tcp/22", "udp/51820", "tcp/1", "udp/65535"] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
        for text in [
            "22",
            "tcp",
            "tcp/",
            "tcp/0",
            "tcp/65536",
            "tcp/+22",
            "tcp/ 22",
            "TCP/22",
            "sctp/22",
            "tcp/22/23",
            "",
        ] {
            assert!(text.parse::<Port>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_opening_is_for_the_address_or_its_prefix() {
        let opening = |ipv4_prefix, ipv6_prefix| Opening {
            ports: vec!["tcp/22".parse().unwrap(), "udp/53".parse().unwrap()],
            ipv4_prefix,
            ipv6_prefix,
        };
        let at = |opening: &Opening, source: &str| opening.keys(source.parse().unwrap());
        let host = opening(32, HOST);
        assert_eq!(at(&host, "2001:db8::7").len(), 2);
        assert_ne!(at(&host, "2001:db8::7"), at(&host, "2001:db8::8"));
        let network = opening(32, 64);
        assert_eq!(at(&network, "2001:db8::7"), at(&network, "2001:db8::8"));
        assert_ne!(at(&network, "2001:db8::7"), at(&host, "2001:db8::"));
        // The IPv6 prefix does not affect IPv4 addresses.
        assert_eq!(at(&network, "192.0.2.7"), at(&host, "192.0.2.7"));
        assert_ne!(at(&network, "192.0.2.7"), at(&network, "192.0.2.8"));
        let carrier = opening(24, HOST);
        assert_eq!(at(&carrier, "192.0.2.7"), at(&carrier, "192.0.2.200"));
        assert_ne!(at(&carrier, "192.0.2.7"), at(&carrier, "192.0.3.7"));
    }
}
