//! The source address that a sealed knock is bound to.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    str::FromStr,
};

use knock_common::protocol::sealed::{Binding, SourceTag};
use thiserror::Error;

use crate::server::{Address, Families};

/// Any port: a route does not depend on it, and no packet is sent.
const ANY_PORT: u16 = 9;

/// What a sealed knock is bound to (README.md, "Sealed", bytes 8 to 11).
///
/// A bound knock is worth nothing to whom sends it on from another address; one that is
/// bound to an address which a router rewrites on the way opens nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceIp {
    /// The address that the route to the server would use, if the server will see it as it
    /// is; otherwise none. See [`arrives_unchanged`].
    #[default]
    Auto,
    /// None.
    None,
    /// This one.
    Is(Known),
}

/// An address that a knock can be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    ip: IpAddr,
    tag: SourceTag,
}

/// Why a text is no [`SourceIp`].
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InvalidSourceIp {
    /// It is no word that is known and no address.
    #[error("it is `auto`, `none` or the IP address that the server sees this host at")]
    Syntax,
    /// `0.0.0.0` and `::` are the address of no host.
    #[error("{0} is the address of no host")]
    Unspecified(IpAddr),
}

impl FromStr for SourceIp {
    type Err = InvalidSourceIp;

    fn from_str(text: &str) -> Result<Self, InvalidSourceIp> {
        match text {
            "auto" => return Ok(Self::Auto),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let ip: IpAddr = text.parse().map_err(|_| InvalidSourceIp::Syntax)?;
        let ip = ip.to_canonical();
        match SourceTag::of(ip) {
            Some(tag) if !ip.is_unspecified() => Ok(Self::Is(Known { ip, tag })),
            _ => Err(InvalidSourceIp::Unspecified(ip)),
        }
    }
}

impl SourceIp {
    /// The one family that a knock bound to this can be sent with, if it is one.
    #[must_use]
    pub const fn family(self) -> Option<Families> {
        match self {
            Self::Is(Known { ip, .. }) if ip.is_ipv4() => Some(Families::Ipv4),
            Self::Is(_) => Some(Families::Ipv6),
            Self::Auto | Self::None => None,
        }
    }

    /// What a knock is bound to wherever it goes; [`None`] if that depends on its route.
    #[must_use]
    pub const fn fixed_binding(self) -> Option<Binding> {
        match self {
            Self::Auto => None,
            Self::None => Some(Binding::Unbound),
            Self::Is(Known { tag, .. }) => Some(Binding::Bound(tag)),
        }
    }

    /// What a knock to `to` is bound to. Asks the system for its route; sends nothing.
    #[must_use]
    pub fn binding(self, to: Address) -> Binding {
        self.binding_by(to, routed_source)
    }

    fn binding_by(
        self,
        to: Address,
        source: impl FnOnce(Address) -> io::Result<IpAddr>,
    ) -> Binding {
        if let Some(fixed) = self.fixed_binding() {
            return fixed;
        }
        if is_translated(to.ip()) {
            return Binding::Unbound;
        }
        // Where there is no route, sending will say so better than this could.
        source(to)
            .ok()
            .filter(|source| arrives_unchanged(*source))
            .and_then(|source| Binding::to(source).ok())
            .unwrap_or(Binding::Unbound)
    }
}

/// The source address of packets to `to`: connecting a UDP socket chooses it, and sends nothing.
fn routed_source(to: Address) -> io::Result<IpAddr> {
    let any: IpAddr = if to.is_ipv6() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind(SocketAddr::from((any, 0)))?;
    socket.connect(to.with_port(ANY_PORT))?;
    Ok(socket.local_addr()?.ip())
}

/// Whether an address of this host's is the one that a server sees.
///
/// It is, unless it lies in a range whose packets do not cross the Internet as they are:
/// private networks and shared ones behind a carrier's NAT, the addresses that translators
/// between the families use, loopback, link-local. That a server in the same network would
/// see even these does not count, for two reasons: whether it is the same network cannot be
/// told from the addresses (a container's 172.17.0.2 is translated on its way to
/// 192.168.0.2), and a wrong guess fails silently, while an unbound knock works at every
/// door that does not set `require_binding`. Whoever knows better says so with an address
/// instead of `auto`.
#[must_use]
pub fn arrives_unchanged(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                // RFC 6598: between a carrier's NAT and its customers.
                || (a == 100 && b & 0xc0 == 64)
                // RFC 7335 and RFC 6333: this host's end of a translation to IPv6.
                || (a, b, c) == (192, 0, 0)
                // RFC 2544: no route leads there; tunnels that proxy connections use it.
                || (a == 198 && b & 0xfe == 18)
                // This network, multicast, and what has never been assigned.
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

/// Whether packets to `ip` become IPv4 packets on their way, with the translator's source
/// address (RFC 6052, RFC 8215). A translator with a prefix of its network's own cannot be
/// told from a server.
fn is_translated(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => matches!(
            ip.segments(),
            [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 1, ..]
        ),
    }
}

/// For the command line, whose default it is.
impl fmt::Display for SourceIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Is(Known { ip, .. }) => ip.fmt(f),
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
            // Whoever names an address knows better.
            ("10.0.0.1", "10.0.0.1", Families::Ipv4),
        ] {
            let source: SourceIp = text.parse().unwrap();
            assert_eq!(source.to_string(), shown);
            assert_eq!(source.family(), Some(family));
            let expected = Binding::to(ip(text)).unwrap();
            assert_eq!(source.binding(ip("127.0.0.1").into()), expected);
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
            let binding = SourceIp::Auto.binding_by(ip("192.0.2.1").into(), |_| Ok(source));
            assert_eq!(binding, Binding::to(source).unwrap());
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
            let binding = SourceIp::Auto.binding_by(ip("192.0.2.1").into(), |_| Ok(source));
            assert_eq!(binding, Binding::Unbound);
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
            let binding = SourceIp::Auto.binding_by(ip(to).into(), |_| Ok(ip("2001:db8::1")));
            assert_eq!(binding.is_bound(), bound, "{to}");
        }
    }

    #[test]
    fn auto_without_a_route_is_unbound() {
        let no_route = |_| Err(io::ErrorKind::NetworkUnreachable.into());
        let binding = SourceIp::Auto.binding_by(ip("192.0.2.1").into(), no_route);
        assert_eq!(binding, Binding::Unbound);
    }

    #[test]
    fn the_route_to_this_host_starts_here() {
        let source = routed_source(ip("127.0.0.1").into()).unwrap();
        assert!(source.is_loopback());
        let binding = SourceIp::Auto.binding(ip("127.0.0.1").into());
        assert_eq!(binding, Binding::Unbound);
    }

    proptest! {
        #[test]
        fn any_address_is_a_source_or_none(address: IpAddr) {
            match address.to_string().parse::<SourceIp>() {
                Ok(source) => {
                    let binding = source.binding(ip("127.0.0.1").into());
                    prop_assert_eq!(Ok(binding), Binding::to(address));
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
            let _ = text.parse::<SourceIp>();
        }
    }
}
