//! The source address that a knock is bound to.

use std::{fmt, io, net::IpAddr, str::FromStr};

use thiserror::Error;

use crate::{
    route::{self, Via},
    server::{Address, Families},
};

/// The source address that a knock is bound to (docs/protocol.md).
///
/// A bound knock cannot be replayed from another address. If a router translates the address
/// that it is bound to, it opens nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceIp {
    /// The source address that the system selects for the knock, unless the address is translated on the
    /// way, as that of a private network is; then the knock is unbound.
    #[default]
    Auto,
    /// Unbound.
    None,
    /// Bound to this address.
    Is(HostAddress),
}

/// An address that a host can have: neither `0.0.0.0` nor `::`. An IPv4-mapped IPv6 address is that
/// IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress(IpAddr);

impl HostAddress {
    /// The address.
    #[must_use]
    pub const fn get(self) -> IpAddr {
        self.0
    }
}

impl TryFrom<IpAddr> for HostAddress {
    type Error = InvalidSourceIp;

    fn try_from(ip: IpAddr) -> Result<Self, InvalidSourceIp> {
        let ip = ip.to_canonical();
        if ip.is_unspecified() {
            return Err(InvalidSourceIp::Unspecified(ip));
        }
        Ok(Self(ip))
    }
}

/// Reads an address where no word is allowed.
impl FromStr for HostAddress {
    type Err = InvalidSourceIp;

    fn from_str(text: &str) -> Result<Self, InvalidSourceIp> {
        let ip: IpAddr = text.parse().map_err(|_| InvalidSourceIp::NoAddress)?;
        ip.try_into()
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not a valid [`SourceIp`] or [`HostAddress`].
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InvalidSourceIp {
    /// It is neither a known word nor an address.
    #[error("expected `auto`, `none` or the IP address under which the server sees this host")]
    Syntax,
    /// It is not an address.
    #[error("expected an IP address, such as 192.0.2.7 or 2001:db8::7")]
    NoAddress,
    /// It is `0.0.0.0` or `::`, which no host can have.
    #[error("{0} cannot be the address of a host")]
    Unspecified(IpAddr),
}

impl FromStr for SourceIp {
    type Err = InvalidSourceIp;

    fn from_str(text: &str) -> Result<Self, InvalidSourceIp> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            _ => match text.parse() {
                Err(InvalidSourceIp::NoAddress) => Err(InvalidSourceIp::Syntax),
                address => address.map(Self::Is),
            },
        }
    }
}

impl SourceIp {
    /// The address family of the knock, if this value determines it.
    #[must_use]
    pub const fn family(self) -> Option<Families> {
        match self {
            Self::Is(HostAddress(ip)) if ip.is_ipv4() => Some(Families::Ipv4),
            Self::Is(_) => Some(Families::Ipv6),
            Self::Auto | Self::None => None,
        }
    }

    /// The address that a knock to `to` is bound to, if it is known here. `Auto` asks the system,
    /// which sends nothing.
    #[must_use]
    pub(crate) fn address(self, to: Address, via: Via) -> Bound {
        self.address_by(to, |to| route::source(to, via))
    }

    fn address_by(self, to: Address, source: impl FnOnce(Address) -> io::Result<IpAddr>) -> Bound {
        match self {
            Self::None => Bound::Nowhere,
            Self::Is(address) => Bound::To(address.get()),
            Self::Auto if is_translated(to.ip()) => Bound::Nowhere,
            Self::Auto => match source(to) {
                Ok(source) if arrives_unchanged(source) => Bound::To(source.to_canonical()),
                Ok(_) if arrives_unchanged(to.ip()) => Bound::Unknown,
                // A private server, or no route. A missing route is not an error here, because
                // sending reports it better.
                _ => Bound::Nowhere,
            },
        }
    }
}

/// What is known about the address that the server will see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The knock is bound to this address.
    To(IpAddr),
    /// The knock is unbound.
    Nowhere,
    /// The knock is unbound, unless somebody in the Internet tells under which address this host
    /// is seen there (`--resolve-ip`).
    Unknown,
}

/// Whether a server sees this address of this host unchanged.
///
/// It does, unless the address is in a range that is not routed in the Internet or is translated:
/// private networks, shared address space behind carrier-grade NAT, the addresses of IPv4/IPv6
/// translators, loopback, link-local. A server in the same network would see even such an
/// address unchanged, but that case is ignored for two reasons. First, the addresses do not
/// show whether it is the same network: a container's 172.17.0.2 is translated on the way to
/// 192.168.0.2. Second, a wrong guess fails silently, while an unbound knock works at every
/// door without `require_binding`. A user who knows better gives the address instead of `auto`.
#[must_use]
pub fn arrives_unchanged(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                // RFC 6598: shared address space between a carrier-grade NAT and its customers.
                || (a == 100 && b & 0xc0 == 64)
                // RFC 7335 and RFC 6333: the IPv4 end of a translation or tunnel to IPv6.
                || (a, b, c) == (192, 0, 0)
                // RFC 2544: benchmarking, not routed; some proxy tunnels use these addresses.
                || (a == 198 && b & 0xfe == 18)
                // "This network", multicast and reserved.
                || a == 0
                || a >= 224)
        }
        IpAddr::V6(ip) => {
            !(ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || is_translated(ip.into()))
        }
    }
}

/// Whether packets to `ip` are translated to IPv4, with the source address of the translator
/// (RFC 6052, RFC 8215). Translators with a network-specific prefix are not recognized.
fn is_translated(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => matches!(
            ip.segments(),
            [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 1, ..]
        ),
    }
}

/// The text form on the command line.
impl fmt::Display for SourceIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Is(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn words_and_addresses_are_read() {
        assert_eq!("auto".parse(), Ok(SourceIp::Auto));
        assert_eq!("none".parse(), Ok(SourceIp::None));
        for (text, shown, family) in [
            ("192.0.2.7", "192.0.2.7", Families::Ipv4),
            ("::ffff:192.0.2.7", "192.0.2.7", Families::Ipv4),
            ("2001:db8::1", "2001:db8::1", Families::Ipv6),
            // An address that the user gives is used even if it is private.
            ("10.0.0.1", "10.0.0.1", Families::Ipv4),
        ] {
            let source: SourceIp = text.parse().unwrap();
            assert_eq!(source.to_string(), shown);
            assert_eq!(source.family(), Some(family));
            let expected = ip(text).to_canonical();
            let bound = source.address(ip("127.0.0.1").into(), Via::Tcp(61_000));
            assert_eq!(bound, Bound::To(expected));
        }
        assert_eq!("Auto".parse::<SourceIp>(), Err(InvalidSourceIp::Syntax));
        for none in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            let error = none.parse::<SourceIp>().unwrap_err();
            assert!(matches!(error, InvalidSourceIp::Unspecified(_)), "{none}");
        }
    }

    #[test]
    fn auto_binds_to_what_the_server_sees() {
        for unchanged in [
            "192.0.2.7",
            "198.51.100.9",
            "203.0.113.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2001:db8::1",
            "2a00:1450::1",
            "::ffff:192.0.2.7",
        ] {
            let source = ip(unchanged);
            assert!(arrives_unchanged(source), "{unchanged}");
            let bound = SourceIp::Auto.address_by(ip("192.0.2.1").into(), |_| Ok(source));
            assert_eq!(bound, Bound::To(source.to_canonical()));
        }
        for changed in [
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.0.1",
            "192.0.0.4",
            "198.18.0.1",
            "198.19.255.255",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "64:ff9b::c000:201",
            "64:ff9b:1::1",
            "::ffff:10.0.0.1",
        ] {
            let source = ip(changed);
            assert!(!arrives_unchanged(source), "{changed}");
            let to = |to| SourceIp::Auto.address_by(ip(to).into(), |_| Ok(source));
            assert_eq!(to("192.0.2.1"), Bound::Unknown);
            // What a host in the Internet sees says nothing about a server in a private network.
            assert_eq!(to("10.0.0.1"), Bound::Nowhere);
            assert_eq!(to("fd00::1"), Bound::Nowhere);
        }
    }

    #[test]
    fn auto_does_not_bind_to_ipv6_what_arrives_with_ipv4() {
        for (to, bound) in [
            ("64:ff9b::c000:201", false),
            ("64:ff9b:1::c000:201", false),
            ("64:ff9b:2::1", true),
            ("2001:db8::2", true),
        ] {
            let address = SourceIp::Auto.address_by(ip(to).into(), |_| Ok(ip("2001:db8::1")));
            assert_eq!(matches!(address, Bound::To(_)), bound, "{to}");
        }
    }

    #[test]
    fn auto_without_a_route_is_unbound() {
        let no_route = |_| Err(io::ErrorKind::NetworkUnreachable.into());
        let bound = SourceIp::Auto.address_by(ip("192.0.2.1").into(), no_route);
        assert_eq!(bound, Bound::Nowhere);
    }

    #[test]
    fn auto_to_this_host_is_unbound() {
        for via in [Via::Tcp(61_000), Via::Udp(62_201)] {
            let bound = SourceIp::Auto.address(ip("127.0.0.1").into(), via);
            assert_eq!(bound, Bound::Nowhere);
        }
    }

    proptest! {
        #[test]
        fn any_address_is_a_source_or_none(address: IpAddr) {
            match address.to_string().parse::<SourceIp>() {
                Ok(source) => {
                    let bound = source.address(ip("127.0.0.1").into(), Via::Tcp(61_000));
                    prop_assert_eq!(bound, Bound::To(address.to_canonical()));
                }
                Err(_) => prop_assert!(address.to_canonical().is_unspecified()),
            }
            prop_assert_eq!(
                arrives_unchanged(address),
                arrives_unchanged(address.to_canonical())
            );
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = (text.parse::<SourceIp>(), text.parse::<HostAddress>());
        }
    }
}
