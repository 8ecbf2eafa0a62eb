//! The server to knock on, and its addresses.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs as _},
    str::FromStr,
    sync::mpsc,
    thread,
    time::Duration,
};

use knockd_credentials::host::{Host, InvalidHost};
use thiserror::Error;

/// A server as given by the user: a host name, or an IP address with or without brackets. It may also
/// be the name of a profile, which is less restricted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server(String);

impl FromStr for Server {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        match text.parse::<Host>() {
            Ok(host) if text.is_ascii() => Ok(host.into()),
            // A profile may have this name, so it is not yet written in ASCII.
            Ok(_) => Ok(Self(text.to_owned())),
            // Told when its addresses are looked up.
            Err(error) if may_be_profile(&error) => Ok(Self(text.to_owned())),
            Err(error) => Err(error),
        }
    }
}

/// Whether a text that is no host because of `error` may be the name of a profile.
fn may_be_profile(error: &InvalidHost) -> bool {
    match error {
        InvalidHost::User
        | InvalidHost::Ipv6
        | InvalidHost::NoZone
        | InvalidHost::Internationalised
        | InvalidHost::Character(_)
        | InvalidHost::Parts => true,
        InvalidHost::Empty
        | InvalidHost::Port(_)
        | InvalidHost::Invitation
        | InvalidHost::Url
        | InvalidHost::Colon
        | InvalidHost::Brackets => false,
    }
}

impl From<Host> for Server {
    fn from(host: Host) -> Self {
        Self(host.as_str().to_owned())
    }
}

impl Server {
    /// The name or address, an IPv6 address without brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of a server's addresses to knock on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// The first IPv4 and the first IPv6 address, if they exist.
    Both,
    /// The first IPv4 address.
    Ipv4,
    /// The first IPv6 address.
    Ipv6,
}

impl Families {
    /// Whether `ip` is of one of these families.
    #[cfg(feature = "program")]
    pub(crate) const fn contain(self, ip: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::Ipv4 => ip.is_ipv4(),
            Self::Ipv6 => ip.is_ipv6(),
        }
    }

    /// The option that restricts a knock to this family.
    #[cfg(feature = "program")]
    pub(crate) const fn option(self) -> Option<&'static str> {
        match self {
            Self::Both => None,
            Self::Ipv4 => Some("-4"),
            Self::Ipv6 => Some("-6"),
        }
    }
}

/// Why no address of a server can be used.
#[derive(Debug, Error)]
pub enum LookupError {
    /// It is neither a name nor an address.
    #[error("{server} is not the name of a profile, and no server either")]
    Invalid {
        /// What was given.
        server: Server,
        /// Why it is no host.
        source: InvalidHost,
    },
    /// The name cannot be resolved.
    #[error("cannot find an address of {server}")]
    Unresolved {
        /// The name.
        server: Server,
        /// The error of the system's resolver.
        source: io::Error,
    },
    /// The resolver does not answer.
    #[error("cannot find an address of {server}: no name server answered within {}; check this host's name servers, or use the server's IP address", humantime::format_duration(*.limit))]
    Silent {
        /// The name.
        server: Server,
        /// The time that it had.
        limit: Duration,
    },
    /// There are addresses, but none of this family.
    #[error("{server} has no {}", match families {
        Families::Both => "IP address",
        Families::Ipv4 => "IPv4 address",
        Families::Ipv6 => "IPv6 address",
    })]
    NoneOfFamily {
        /// The server.
        server: Server,
        /// The requested families.
        families: Families,
    },
}

/// How long the system's resolver may take: long enough to ask a second name server, which glibc
/// does after five seconds.
#[cfg(feature = "program")]
pub(crate) const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

impl Server {
    /// The addresses to knock on: at most one of each family, IPv4 first.
    ///
    /// Uses the system's resolver, for up to `limit`.
    ///
    /// # Errors
    ///
    /// Returns [`LookupError`] if there is no such address.
    pub fn addresses(
        &self,
        families: Families,
        limit: Duration,
    ) -> Result<Vec<Address>, LookupError> {
        self.chosen(&self.all_addresses(limit)?, families)
    }

    /// The addresses among `found` to knock on: at most one of each family, IPv4 first.
    ///
    /// # Errors
    ///
    /// Returns [`LookupError::NoneOfFamily`] if there is no such address.
    pub(crate) fn chosen(
        &self,
        found: &[Address],
        families: Families,
    ) -> Result<Vec<Address>, LookupError> {
        let chosen = first_of_each(found.iter().copied(), families);
        if chosen.is_empty() {
            return Err(LookupError::NoneOfFamily {
                server: self.clone(),
                families,
            });
        }
        Ok(chosen)
    }

    /// Every address, in the order of the system's resolver, which has up to `limit` for it.
    ///
    /// # Errors
    ///
    /// Returns [`LookupError`] if it is no server, or the resolver finds no address in time.
    pub(crate) fn all_addresses(&self, limit: Duration) -> Result<Vec<Address>, LookupError> {
        let host: Host = self.0.parse().map_err(|source| LookupError::Invalid {
            server: self.clone(),
            source,
        })?;
        let resolved = resolve(host, limit).ok_or_else(|| LookupError::Silent {
            server: self.clone(),
            limit,
        })?;
        let found = resolved.map_err(|source| LookupError::Unresolved {
            server: self.clone(),
            source,
        })?;
        Ok(found.into_iter().map(Address::from).collect())
    }
}

/// What the system's resolver answers; `None` if it does not within `limit`.
///
/// It has no time limit of its own that a program could set. The thread that waits for it ends with
/// the process.
fn resolve(host: Host, limit: Duration) -> Option<io::Result<Vec<SocketAddr>>> {
    let (answer, answers) = mpsc::sync_channel(1);
    let look_up = move || {
        let found = (host.as_str(), 0).to_socket_addrs();
        // Nobody may be waiting any more.
        let _ = answer.send(found.map(Vec::from_iter));
    };
    if let Err(error) = thread::Builder::new().spawn(look_up) {
        return Some(Err(error));
    }
    answers.recv_timeout(limit).ok()
}

fn first_of_each(found: impl Iterator<Item = Address>, families: Families) -> Vec<Address> {
    let (mut ipv4, mut ipv6) = (None, None);
    for address in found {
        let first = if address.ip.is_ipv4() {
            &mut ipv4
        } else {
            &mut ipv6
        };
        first.get_or_insert(address);
    }
    let ipv4 = ipv4.filter(|_| families != Families::Ipv6);
    let ipv6 = ipv6.filter(|_| families != Families::Ipv4);
    ipv4.into_iter().chain(ipv6).collect()
}

/// An IP address, with a scope ID (interface index) if it is link-local.
///
/// An IPv4-mapped IPv6 address is treated as IPv4 (docs/protocol.md, "Assembly on the server").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    ip: IpAddr,
    scope: u32,
}

impl Address {
    /// The address with `port`.
    #[must_use]
    pub fn with_port(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => SocketAddr::from((ip, port)),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.scope).into(),
        }
    }

    /// The address without its scope ID.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// Whether it is an IPv6 address.
    #[must_use]
    pub fn is_ipv6(self) -> bool {
        self.ip.is_ipv6()
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self {
            ip: ip.to_canonical(),
            scope: 0,
        }
    }
}

/// Discards the port.
impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let scope = match address {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(address) => address.scope_id(),
        };
        Self {
            scope,
            ..address.ip().into()
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip.fmt(f)?;
        match self.scope {
            0 => Ok(()),
            scope => write!(f, "%{scope}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn addresses(server: &str, families: Families) -> Result<String, String> {
        let server: Server = server.parse().unwrap();
        match server.addresses(families, SOON) {
            Ok(found) => {
                let found: Vec<String> = found.iter().map(Address::to_string).collect();
                Ok(found.join(" "))
            }
            Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
        }
    }

    #[test]
    fn addresses_resolve_to_themselves() {
        for (server, families, found) in [
            ("192.0.2.7", Families::Both, "192.0.2.7"),
            ("192.0.2.7", Families::Ipv4, "192.0.2.7"),
            ("[2001:db8::1]", Families::Both, "2001:db8::1"),
            ("2001:db8::1", Families::Ipv6, "2001:db8::1"),
            ("::ffff:192.0.2.7", Families::Both, "192.0.2.7"),
            // Wide digits and full stops, as an input method for Chinese writes them.
            ("１９２。０。２。７", Families::Both, "192.0.2.7"),
        ] {
            assert_eq!(addresses(server, families).unwrap(), found);
        }
    }

    #[test]
    fn says_that_there_is_no_address() {
        for (server, families, expected) in [
            ("192.0.2.7", Families::Ipv6, "192.0.2.7 has no IPv6 address"),
            ("::1", Families::Ipv4, "::1 has no IPv4 address"),
            (
                "fe80::1",
                Families::Both,
                "fe80::1 is not the name of a profile, and no server either: a link-local address needs the interface",
            ),
            (
                "root@192.0.2.7",
                Families::Both,
                "root@192.0.2.7 is not the name of a profile, and no server either: a knock has no user",
            ),
            // A label that is too long for DNS, so that no DNS query is sent.
            (&*"x".repeat(64), Families::Both, "cannot find an address"),
        ] {
            let error = addresses(server, families).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn link_local_addresses_keep_their_interface() {
        // The index of the loopback interface is 1 in every network namespace.
        assert_eq!(
            addresses("fe80::1%lo", Families::Both).unwrap(),
            "fe80::1%1"
        );
        let server: Server = "[fe80::1%lo]".parse().unwrap();
        let found = server.addresses(Families::Ipv6, SOON).unwrap();
        assert_eq!(found[0].with_port(61000).to_string(), "[fe80::1%1]:61000");
    }

    #[test]
    fn takes_the_first_of_each_family() {
        let found = ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"];
        let chosen = |families| {
            let found = found.iter().map(|ip| ip.parse::<IpAddr>().unwrap().into());
            first_of_each(found, families)
                .iter()
                .map(Address::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(chosen(Families::Both), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(chosen(Families::Ipv4), ["192.0.2.1"]);
        assert_eq!(chosen(Families::Ipv6), ["2001:db8::1"]);
    }

    proptest! {
        #[test]
        fn any_address_is_read_and_shown(ip: IpAddr, port: u16) {
            let address = Address::from(ip);
            prop_assert_eq!(address.to_string(), ip.to_canonical().to_string());
            prop_assert_eq!(Address::from(address.with_port(port)), address);
        }
    }
}
