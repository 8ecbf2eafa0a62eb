//! The server to knock on, and its addresses.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs as _},
    str::FromStr,
};

use thiserror::Error;

/// A server as given by the user: a host name, or an IP address with or without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server(String);

/// Why a text is not a valid server.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InvalidServer {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It includes a port.
    #[error("a knock uses its own ports: omit the port {0}")]
    Port(String),
    /// It is an invitation.
    #[error("this is an invitation, which is secret: run `knock import` and paste it there")]
    Invitation,
    /// The text after the colon is not a port. It is not shown, because it may be a key.
    #[error("a colon is only valid in an IPv6 address")]
    Colon,
    /// There are brackets, but not as in `[2001:db8::1]`.
    #[error("brackets are only valid around an IPv6 address, as in [2001:db8::1]")]
    Brackets,
}

impl FromStr for Server {
    type Err = InvalidServer;

    fn from_str(text: &str) -> Result<Self, InvalidServer> {
        if text.is_empty() {
            return Err(InvalidServer::Empty);
        }
        if text.starts_with("knock:") {
            return Err(InvalidServer::Invitation);
        }
        if let Some(rest) = text.strip_prefix('[') {
            return match rest.split_once(']') {
                Some((address, "")) if address.contains(':') => Ok(Self(address.to_owned())),
                Some((_, port)) if is_port(port) => Err(InvalidServer::Port(port.to_owned())),
                _ => Err(InvalidServer::Brackets),
            };
        }
        match text.find(':').map(|colon| &text[colon..]) {
            Some(port) if is_port(port) => Err(InvalidServer::Port(port.to_owned())),
            // An IPv6 address has at least two colons.
            Some(rest) if rest.matches(':').count() == 1 => Err(InvalidServer::Colon),
            _ if text.ends_with(']') => Err(InvalidServer::Brackets),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// Whether `text` looks like `:22` or `:ssh`. A service name has at most 15 characters (RFC 6335,
/// section 5.1).
fn is_port(text: &str) -> bool {
    text.strip_prefix(':')
        .is_some_and(|port| port.len() <= 15 && !port.contains(':'))
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
        f.write_str(&self.0)
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
    pub(crate) const fn contain(self, ip: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::Ipv4 => ip.is_ipv4(),
            Self::Ipv6 => ip.is_ipv6(),
        }
    }
}

/// Why no address of a server can be used.
#[derive(Debug, Error)]
pub enum LookupError {
    /// The name cannot be resolved.
    #[error("cannot find an address of {server}")]
    Unresolved {
        /// The name.
        server: Server,
        /// The error of the system's resolver.
        source: io::Error,
    },
    /// There are addresses, but none of this family.
    #[error("{server} has no {}", match families {
        Families::Both => "IP address",
        Families::Ipv4 => "IPv4 address; try it without -4",
        Families::Ipv6 => "IPv6 address; try it without -6",
    })]
    NoneOfFamily {
        /// The server.
        server: Server,
        /// The requested families.
        families: Families,
    },
}

impl Server {
    /// The addresses to knock on: at most one of each family, IPv4 first.
    ///
    /// Uses the system's resolver, which may take seconds.
    ///
    /// # Errors
    ///
    /// Returns [`LookupError`] if there is no such address.
    pub fn addresses(&self, families: Families) -> Result<Vec<Address>, LookupError> {
        let found =
            (self.0.as_str(), 0)
                .to_socket_addrs()
                .map_err(|source| LookupError::Unresolved {
                    server: self.clone(),
                    source,
                })?;
        let chosen = first_of_each(found.map(Address::from), families);
        if chosen.is_empty() {
            return Err(LookupError::NoneOfFamily {
                server: self.clone(),
                families,
            });
        }
        Ok(chosen)
    }
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

    fn addresses(server: &str, families: Families) -> Result<String, String> {
        let server: Server = server.parse().unwrap();
        match server.addresses(families) {
            Ok(found) => {
                let found: Vec<String> = found.iter().map(Address::to_string).collect();
                Ok(found.join(" "))
            }
            Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
        }
    }

    #[test]
    fn reads_names_and_addresses() {
        for (text, server) in [
            ("192.0.2.7", "192.0.2.7"),
            ("example.net", "example.net"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[fe80::1%eth0]", "fe80::1%eth0"),
        ] {
            assert_eq!(text.parse(), Ok(Server(server.to_owned())));
        }
    }

    #[test]
    fn refuses_what_names_no_server() {
        let refused = |text: &str| text.parse::<Server>().unwrap_err();
        assert_eq!(refused(""), InvalidServer::Empty);
        for (text, port) in [
            ("host:22", ":22"),
            ("192.0.2.7:22", ":22"),
            ("[::1]:22", ":22"),
        ] {
            assert_eq!(refused(text), InvalidServer::Port(port.to_owned()));
        }
        for text in ["host:AAECAwQFBgcICQoLDA0O", "knock2:AAECAwQFBgcICQoLDA0O"] {
            assert_eq!(refused(text), InvalidServer::Colon);
        }
        let invitation = "knock://laptop@host:61000?server=AAECAw";
        assert_eq!(refused(invitation), InvalidServer::Invitation);
        for text in ["[", "[]", "[::1", "::1]", "host]", "[host]", "[::1]22"] {
            assert_eq!(refused(text), InvalidServer::Brackets, "{text}");
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
        ] {
            assert_eq!(addresses(server, families).unwrap(), found);
        }
    }

    #[test]
    fn says_that_there_is_no_address() {
        for (server, families, expected) in [
            ("192.0.2.7", Families::Ipv6, "192.0.2.7 has no IPv6 address"),
            ("::1", Families::Ipv4, "::1 has no IPv4 address"),
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
        let found = server.addresses(Families::Ipv6).unwrap();
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
        fn any_text_is_read_or_refused(text: String) {
            let _ = text.parse::<Server>();
        }

        #[test]
        fn any_address_is_read_and_shown(ip: IpAddr, port: u16) {
            let address = Address::from(ip);
            prop_assert_eq!(address.to_string(), ip.to_canonical().to_string());
            prop_assert_eq!(Address::from(address.with_port(port)), address);
            prop_assert!(ip.to_string().parse::<Server>().is_ok());
        }
    }
}
