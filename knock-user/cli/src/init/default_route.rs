//! The interfaces that a new configuration listens on: those by which this host reaches the Internet.

use std::{collections::BTreeMap, fmt};

use knockd_types::interface::{Framing, Interface, Kind};

/// `RTF_UP` and `RTF_REJECT` of linux/route.h.
const UP: u32 = 0x0001;
const REJECT: u32 = 0x0200;

/// An interface, and why it was chosen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) interface: String,
    /// The IP versions whose default route it has.
    families: Vec<&'static str>,
    /// The tunnels that have a better default route.
    passed_over: Vec<String>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            interface,
            families,
            passed_over,
        } = self;
        write!(
            f,
            "{interface} has the default route of {}",
            families.join(" and ")
        )?;
        if !passed_over.is_empty() {
            let tunnels = passed_over.join(", ");
            write!(f, ", and {tunnels}, which is a tunnel, is not chosen")?;
        }
        Ok(())
    }
}

/// A default route.
#[derive(Debug, PartialEq, Eq)]
struct Route<'a> {
    interface: &'a str,
    metric: u32,
}

/// The interfaces of the best default routes in `ipv4` and `ipv6`, the content of /proc/net/route and
/// /proc/net/ipv6_route. A tunnel is chosen only if no other interface has a default route of its IP
/// version: clients do not come through a VPN that this host uses.
pub(super) fn choose(ipv4: &str, ipv6: &str, present: &[Interface]) -> Vec<Choice> {
    let mut choices: Vec<Choice> = Vec::new();
    let routes = [
        ("IPv4", ipv4.lines().filter_map(parse_ipv4).collect()),
        ("IPv6", ipv6.lines().filter_map(parse_ipv6).collect()),
    ];
    for (family, routes) in routes {
        let Some((interface, passed_over)) = best(routes, present) else {
            continue;
        };
        match choices.iter_mut().find(|one| one.interface == interface) {
            Some(choice) => {
                choice.families.push(family);
                choice.passed_over.extend(passed_over);
                choice.passed_over.dedup();
            }
            None => choices.push(Choice {
                interface,
                families: vec![family],
                passed_over,
            }),
        }
    }
    choices
}

/// The interface of the best of `routes`, and the tunnels with a better one.
fn best(mut routes: Vec<Route<'_>>, present: &[Interface]) -> Option<(String, Vec<String>)> {
    let interfaces: BTreeMap<_, _> = present.iter().map(|one| (one.name.as_str(), one)).collect();
    // No program sees its packets, or they come from this host.
    let is_usable = |route: &Route<'_>| {
        let kind = interfaces.get(route.interface).map(|one| one.kind);
        !matches!(kind, Some(Kind::Loopback | Kind::Blind(_)))
    };
    let is_tunnel = |route: &Route<'_>| {
        let interface = interfaces.get(route.interface);
        interface.is_some_and(|one| one.framing != Framing::Ethernet)
    };
    routes.retain(is_usable);
    // Of equal ones, the first.
    routes.sort_by_key(|route| route.metric);
    let place = routes.iter().position(|route| !is_tunnel(route));
    let place = place.or((!routes.is_empty()).then_some(0))?;
    let mut passed_over: Vec<_> = routes[..place]
        .iter()
        .map(|route| route.interface.to_owned())
        .collect();
    passed_over.dedup();
    Some((routes[place].interface.to_owned(), passed_over))
}

/// A default route in a line of /proc/net/route. Its numbers are hexadecimal, but for the metric.
fn parse_ipv4(line: &str) -> Option<Route<'_>> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [interface, to, _, flags, _, _, metric, mask, ..] = fields[..] else {
        return None;
    };
    let is_default = to == "00000000" && mask == "00000000";
    route(interface, is_default, flags, metric.parse().ok()?)
}

/// A default route in a line of /proc/net/ipv6_route, whose numbers are hexadecimal.
fn parse_ipv6(line: &str) -> Option<Route<'_>> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [to, to_len, _, from_len, _, metric, _, _, flags, interface] = fields[..] else {
        return None;
    };
    let is_default = to.bytes().all(|byte| byte == b'0') && to_len == "00" && from_len == "00";
    let metric = u32::from_str_radix(metric, 16).ok()?;
    route(interface, is_default, flags, metric)
}

/// The route, unless it is not a default route or discards packets. A blackhole has the interface `*`
/// in IPv4, and `lo` in IPv6.
fn route<'a>(interface: &'a str, is_default: bool, flags: &str, metric: u32) -> Option<Route<'a>> {
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let is_in_use = flags & UP != 0 && flags & REJECT == 0 && interface != "*";
    (is_default && is_in_use).then_some(Route { interface, metric })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present() -> Vec<Interface> {
        let interface = |name: &str, framing, kind| Interface {
            index: 1,
            name: name.into(),
            altnames: Vec::new(),
            framing,
            kind,
            master: 0,
            is_member: false,
            is_unrouted: false,
            mtu: 1500,
            below: 0,
            received: 0,
            program: None,
        };
        vec![
            interface("lo", Framing::Ethernet, Kind::Loopback),
            interface("eth0", Framing::Ethernet, Kind::Other),
            interface("eth1", Framing::Ethernet, Kind::Other),
            interface("ppp0", Framing::Ip, Kind::Other),
            interface("tun0", Framing::Ip, Kind::Other),
            interface("vrf0", Framing::Ethernet, Kind::Blind("a VRF")),
        ]
    }

    /// Lines of /proc/net/route.
    fn ipv4(routes: &[(&str, &str, &str, u32)]) -> String {
        let lines = routes.iter().map(|(interface, mask, flags, metric)| {
            format!("{interface}\t00000000\t010200C0\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n")
        });
        let head =
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        lines.fold(head.to_owned(), |text, line| text + &line)
    }

    /// Lines of /proc/net/ipv6_route.
    fn ipv6(routes: &[(&str, &str, u32)]) -> String {
        let zero = "0".repeat(32);
        let lines = routes.iter().map(|(interface, flags, metric)| {
            format!(
                "{zero} 00 {zero} 00 {zero} {metric:08x} 00000001 00000000 {flags} {interface:>8}\n"
            )
        });
        lines.collect()
    }

    fn chosen(ipv4: &str, ipv6: &str) -> Vec<String> {
        let choices = choose(ipv4, ipv6, &present());
        choices.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_best_default_route_counts() {
        let zero = "00000000";
        let both = ipv4(&[("eth1", zero, "0003", 200), ("eth0", zero, "0003", 100)]);
        assert_eq!(chosen(&both, ""), ["eth0 has the default route of IPv4"]);
        // 0.0.0.0/1 is no default route.
        let half = ipv4(&[("tun0", "00000080", "0003", 0), ("eth0", zero, "0003", 100)]);
        assert_eq!(chosen(&half, ""), ["eth0 has the default route of IPv4"]);
        assert_eq!(chosen("", ""), [""; 0]);
    }

    #[test]
    fn a_tunnel_is_chosen_only_if_nothing_else_has_a_default_route() {
        let zero = "00000000";
        let vpn = ipv4(&[("tun0", zero, "0001", 0), ("eth0", zero, "0003", 100)]);
        assert_eq!(
            chosen(&vpn, ""),
            ["eth0 has the default route of IPv4, and tun0, which is a tunnel, is not chosen"]
        );
        let dsl = ipv4(&[("ppp0", zero, "0001", 0)]);
        assert_eq!(chosen(&dsl, ""), ["ppp0 has the default route of IPv4"]);
    }

    #[test]
    fn what_discards_packets_is_no_choice() {
        let zero = "00000000";
        let blackhole = ipv4(&[("*", zero, "0201", 0), ("vrf0", zero, "0003", 0)]);
        let unreachable = ipv6(&[("lo", "00200200", u32::MAX), ("eth0", "00000200", 1)]);
        assert_eq!(chosen(&blackhole, &unreachable), [""; 0]);
        let behind = ipv4(&[("*", zero, "0201", 0), ("eth0", zero, "0003", 100)]);
        assert_eq!(
            chosen(&behind, &unreachable),
            ["eth0 has the default route of IPv4"]
        );
    }

    #[test]
    fn each_ip_version_has_its_interface() {
        let zero = "00000000";
        let four = ipv4(&[("eth0", zero, "0003", 100)]);
        let six = |name| ipv6(&[(name, "00000003", 1024), ("lo", "00200200", u32::MAX)]);
        assert_eq!(
            chosen("", &six("eth0")),
            ["eth0 has the default route of IPv6"]
        );
        assert_eq!(
            chosen(&four, &six("eth0")),
            ["eth0 has the default route of IPv4 and IPv6"]
        );
        assert_eq!(
            chosen(&four, &six("eth1")),
            [
                "eth0 has the default route of IPv4",
                "eth1 has the default route of IPv6"
            ]
        );
    }
}
