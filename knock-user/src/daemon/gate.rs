//! The kernel's leases: who reaches a protected port, and until when.
//!
//! The XDP program enforces them, with this process or without it; see
//! [`knock_common::gate`]. Which doors they belong to is the business of [`super::doors`].

pub mod pins;

use std::{
    fmt, io,
    net::IpAddr,
    num::{NonZeroU32, NonZeroU64},
    os::fd::AsFd as _,
    str::FromStr,
    time::Duration,
};

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use ipnet::IpNet;
use knock_common::{
    address::Address,
    gate::{HOST, Lease, LeaseKey, Mode, PROTECTED_LEN, PrefixLens, Transport, protected_bit},
    settings,
};
use rustix::io::Errno;
use serde::Deserialize;
use thiserror::Error;

use super::clock::boottime;

/// A port of this host: `tcp/22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Port {
    /// Of which protocol.
    pub transport: Transport,
    /// Its number, above 0.
    pub number: u16,
}

/// Why a text is no [`Port`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no port such as \"tcp/22\" or \"udp/51820\"")]
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
        // `parse` would take a sign.
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

/// What a door opens in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// These ports, for whoever knocked.
    pub ports: Vec<Port>,
    /// How much of an IPv6 address has to agree with that of who knocked; 0 is none of it.
    pub ipv6_prefix: u8,
}

impl Opening {
    /// The leases that let `source` in.
    #[must_use]
    pub fn keys(&self, source: IpAddr) -> Vec<LeaseKey> {
        let prefix_len = match source {
            IpAddr::V4(_) => HOST,
            IpAddr::V6(_) => self.ipv6_prefix,
        };
        let source = Address::from(source);
        let key = |port: &Port| LeaseKey::new(source, prefix_len, port.transport, port.number);
        self.ports.iter().map(key).collect()
    }
}

/// What the gate keeps closed, and for whom it does not.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The ports that are reached with a lease or from a trusted network only.
    pub protect: Vec<Port>,
    /// The networks that need no lease. None of IPv6 has IPv4-mapped addresses in it.
    pub trusted: Vec<IpNet>,
    /// What becomes of the others.
    pub mode: Mode,
    /// How far apart datagrams may be that keep a lease going; above zero.
    pub udp_idle: Duration,
    /// The prefix lengths of IPv6 leases.
    pub prefix_lens: PrefixLens,
    /// How many leases there may be at the same time.
    pub max_leases: NonZeroU32,
}

impl Rules {
    /// What the XDP program has to know of them besides its maps.
    pub(super) fn settings(&self) -> settings::Gate {
        let protects = |transport| self.protect.iter().any(|port| port.transport == transport);
        settings::Gate {
            mode: self.mode,
            tcp: protects(Transport::Tcp),
            udp: protects(Transport::Udp),
            trusted: !self.trusted.is_empty(),
            prefix_lens: self.prefix_lens,
            udp_idle_ns: NonZeroU64::new(nanoseconds(self.udp_idle)).unwrap_or(NonZeroU64::MIN),
        }
    }
}

/// Why somebody cannot be let in.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Every lease that the map can hold is in use.
    #[error("the gate has as many leases as `limits.leases` allows")]
    Full,
    /// The kernel refuses.
    #[error("the gate's leases cannot be written: {0}")]
    Broken(#[from] MapError),
}

/// The leases of a program that is loaded.
#[derive(Debug)]
pub struct Gate {
    /// The map `LEASES`.
    leases: Map,
    /// The map `PROTECTED`.
    protected: Map,
    udp_idle: Duration,
}

impl Gate {
    /// The gate of the program with these maps.
    ///
    /// # Errors
    ///
    /// They have another layout.
    pub(super) fn new(leases: Map, protected: Map, udp_idle: Duration) -> Result<Self, MapError> {
        let mut gate = Self {
            leases,
            protected,
            udp_idle,
        };
        gate.map()?;
        gate.map_mut()?;
        Array::<_, u64>::try_from(&gate.protected)?;
        Ok(gate)
    }

    fn map(&self) -> Result<HashMap<&MapData, LeaseKey, Lease>, MapError> {
        HashMap::try_from(&self.leases)
    }

    fn map_mut(&mut self) -> Result<HashMap<&mut MapData, LeaseKey, Lease>, MapError> {
        HashMap::try_from(&mut self.leases)
    }

    /// Lets in whoever `keys` are for, for `left` from now, or for longer if they are let in
    /// for longer already.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nobody is let in by this then who was not before.
    pub fn open(&mut self, keys: &[LeaseKey], left: Duration) -> Result<(), OpenError> {
        let expires_ns = nanoseconds(boottime() + left);
        let mut fresh = Vec::new();
        for key in keys {
            match self.extend(key, expires_ns) {
                Ok(true) => fresh.push(*key),
                Ok(false) => {}
                Err(error) => {
                    self.close(&fresh)?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Writes one lease; whether there was none before.
    fn extend(&mut self, key: &LeaseKey, expires_ns: u64) -> Result<bool, OpenError> {
        let before = match self.map()?.get(key, 0) {
            Ok(lease) if lease.holds(nanoseconds(boottime()), self.idle_ns(key)) => Some(lease),
            // One that has ended is as good as none: nobody is let in if the rest fails.
            Ok(_) | Err(MapError::KeyNotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let lease = Lease {
            expires_ns: before.map_or(expires_ns, |lease| lease.expires_ns.max(expires_ns)),
            seen_ns: before.map_or(0, |lease| lease.seen_ns),
        };
        match self.map_mut()?.insert(key, lease, 0) {
            Err(error) if errno(&error) == Some(Errno::TOOBIG) && self.sweep()? > 0 => {
                self.map_mut()?.insert(key, lease, 0)?;
            }
            Err(error) if errno(&error) == Some(Errno::TOOBIG) => return Err(OpenError::Full),
            written => written?,
        }
        Ok(before.is_none())
    }

    /// Sets the end of the lease of `key`, if there is one, to `left` from now, be that sooner.
    ///
    /// # Errors
    ///
    /// The kernel refuses: it ends when it was to end.
    pub fn shorten(&mut self, key: &LeaseKey, left: Duration) -> Result<(), MapError> {
        match self.map()?.get(key, 0) {
            Ok(lease) => {
                let lease = Lease {
                    expires_ns: nanoseconds(boottime() + left),
                    ..lease
                };
                self.map_mut()?.insert(key, lease, 0)
            }
            Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lets nobody in by `keys` any more.
    ///
    /// # Errors
    ///
    /// The kernel refuses: they end when they were to end.
    pub fn close(&mut self, keys: &[LeaseKey]) -> Result<(), MapError> {
        for key in keys {
            match self.map_mut()?.remove(key) {
                Err(error) if errno(&error) != Some(Errno::NOENT) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// For how long somebody is let in by one of `keys` yet; the datagrams that keep a lease
    /// going count. Zero for nobody.
    #[must_use]
    pub fn left(&self, keys: &[LeaseKey]) -> Duration {
        let ends = keys.iter().filter_map(|key| {
            let lease = self.map().ok()?.get(key, 0).ok()?;
            Some(lease.ends_at(self.idle_ns(key)))
        });
        Duration::from_nanos(ends.max().unwrap_or_default()).saturating_sub(boottime())
    }

    /// Whether there is a lease for one of `keys`, or was one that nobody has taken out since.
    #[must_use]
    pub fn knows(&self, keys: &[LeaseKey]) -> bool {
        let has = |map: &HashMap<&MapData, LeaseKey, Lease>, key| map.get(key, 0).is_ok();
        self.map()
            .is_ok_and(|map| keys.iter().any(|key| has(&map, key)))
    }

    /// For how long the datagrams that came last keep one of `keys` going yet, whenever it would
    /// end by itself. Zero for what is not in use, and for TCP.
    #[must_use]
    pub fn in_use(&self, keys: &[LeaseKey]) -> Duration {
        let ends = keys.iter().filter_map(|key| {
            let lease = self.map().ok()?.get(key, 0).ok()?;
            let by_itself = Lease {
                expires_ns: 0,
                ..lease
            };
            Some(by_itself.ends_at(self.idle_ns(key)))
        });
        Duration::from_nanos(ends.max().unwrap_or_default()).saturating_sub(boottime())
    }

    /// Takes out every lease that has ended; how many those were.
    fn sweep(&mut self) -> Result<usize, MapError> {
        let now = nanoseconds(boottime());
        let mut ended = Vec::new();
        for entry in &self.map()? {
            let (key, lease) = entry?;
            if !lease.holds(now, self.idle_ns(&key)) {
                ended.push(key);
            }
        }
        self.close(&ended)?;
        Ok(ended.len())
    }

    /// Takes over every lease of `other` that has not ended, for as long as it has left.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; some may be missing then.
    pub fn adopt(&mut self, other: &Self) -> Result<(), OpenError> {
        for (key, _) in other.leases()? {
            self.open(&[key], other.left(&[key]))?;
        }
        Ok(())
    }

    /// Every lease that has not ended.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn leases(&self) -> Result<Vec<(LeaseKey, Lease)>, MapError> {
        let now = nanoseconds(boottime());
        let has_ended = |entry: &Result<(LeaseKey, Lease), MapError>| matches!(entry, Ok((key, lease)) if !lease.holds(now, self.idle_ns(key)));
        let map = self.map()?;
        map.iter().filter(|entry| !has_ended(entry)).collect()
    }

    /// A further handle to the same leases, for a thread of its own.
    ///
    /// # Errors
    ///
    /// No more files can be open.
    pub fn try_clone(&self) -> Result<Self, MapError> {
        Self::new(again(&self.leases)?, again(&self.protected)?, self.udp_idle)
    }

    /// The ports that are protected.
    #[must_use]
    pub fn protected(&self) -> Vec<Port> {
        let Ok(map) = Array::<_, u64>::try_from(&self.protected) else {
            return Vec::new();
        };
        protected(&map)
    }

    fn idle_ns(&self, key: &LeaseKey) -> Option<NonZeroU64> {
        (key.protocol == Transport::Udp.number())
            .then(|| NonZeroU64::new(nanoseconds(self.udp_idle)))
            .flatten()
    }
}

/// A further handle to `map`, of a kind that a gate has.
fn again(map: &Map) -> Result<Map, MapError> {
    let handle = |map: &MapData| MapData::from_fd(map.fd().as_fd().try_clone_to_owned()?);
    match map {
        Map::HashMap(map) => handle(map).map(Map::HashMap),
        Map::Array(map) => handle(map).map(Map::Array),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported).into()),
    }
}

/// The ports whose bits are set in the map `PROTECTED`.
fn protected(map: &Array<&MapData, u64>) -> Vec<Port> {
    let bits: Vec<u64> = (0..PROTECTED_LEN)
        .map(|index| map.get(&index, 0).unwrap_or_default())
        .collect();
    [Transport::Tcp, Transport::Udp]
        .into_iter()
        .flat_map(|transport| (1..=u16::MAX).map(move |number| Port { transport, number }))
        .filter(|port| {
            let (index, bit) = protected_bit(port.transport, port.number);
            bits[index as usize] & bit != 0
        })
        .collect()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn errno(error: &MapError) -> Option<Errno> {
    match error {
        MapError::SyscallError(error) => Errno::from_io_error(&error.io_error),
        MapError::KeyNotFound => Some(Errno::NOENT),
        _ => None,
    }
}

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
        let opening = |ipv6_prefix| Opening {
            ports: vec!["tcp/22".parse().unwrap(), "udp/53".parse().unwrap()],
            ipv6_prefix,
        };
        let at = |opening: &Opening, source: &str| opening.keys(source.parse().unwrap());
        let host = opening(HOST);
        assert_eq!(at(&host, "2001:db8::7").len(), 2);
        assert_ne!(at(&host, "2001:db8::7"), at(&host, "2001:db8::8"));
        let network = opening(64);
        assert_eq!(at(&network, "2001:db8::7"), at(&network, "2001:db8::8"));
        assert_ne!(at(&network, "2001:db8::7"), at(&host, "2001:db8::"));
        // Whatever the prefix of IPv6: an IPv4 address is one host.
        assert_eq!(at(&network, "192.0.2.7"), at(&host, "192.0.2.7"));
        assert_ne!(at(&network, "192.0.2.7"), at(&network, "192.0.2.8"));
    }
}
