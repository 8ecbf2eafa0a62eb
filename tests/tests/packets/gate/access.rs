//! Which sources a lease or a trusted network admits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use knock_common::{
    counters::Outcome::{self, GateLeased, GateRefused, GateTrusted, NotTcp, OutsideWindow},
    gate::{PrefixLens, Transport},
    settings::Verdict,
};
use knock_tests::{link::Pair, needs_bpf};
use knockd_types::rules::{Port, Rules};

use super::{HOUR, Programs, keys, request, rules, trusting};
use crate::bench::{Action, Bench, action, unlimited};

/// Two ports of each protocol; one number occurs with both.
const PORTS: [&str; 4] = ["tcp/22", "tcp/51820", "udp/51820", "udp/53"];

fn expect_from(programs: &mut Programs, source: impl Into<IpAddr>, port: &str, outcome: Outcome) {
    let source = source.into();
    let frame = request(source, port.parse().unwrap()).bytes().unwrap();
    let leases = &programs.policy.leases;
    let what = format!("{source} to {port} with {leases:?}");
    programs.expect(&what, &frame, outcome);
}

#[test]
fn a_lease_admits_one_source_to_one_port_of_one_protocol() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&PORTS));
    for (source, other, elsewhere) in [
        ("192.0.2.2", "192.0.2.3", "2001:db8::2"),
        ("2001:db8::2", "2001:db8::3", "192.0.2.2"),
    ] {
        for (port, other_port, other_protocol) in [
            ("tcp/51820", "tcp/22", "udp/51820"),
            ("udp/51820", "udp/53", "tcp/51820"),
        ] {
            let leases = [
                (other, port),
                (elsewhere, port),
                (source, other_port),
                (source, other_protocol),
                (source, port),
            ]
            .map(|(source, port)| (host(source), port));
            let leases = leases
                .each_ref()
                .map(|(network, port)| (&network[..], *port));
            let (of_others, own) = leases.split_at(4);
            let source: IpAddr = source.parse().unwrap();

            programs.lease(&[]);
            expect_from(&mut programs, source, port, GateRefused);
            for lease in of_others {
                programs.lease(&[*lease]);
                expect_from(&mut programs, source, port, GateRefused);
            }
            programs.lease(of_others);
            expect_from(&mut programs, source, port, GateRefused);
            programs.lease(own);
            expect_from(&mut programs, source, port, GateLeased);
            programs.lease(&leases);
            expect_from(&mut programs, source, port, GateLeased);
        }
    }
}

/// Ports that share an element of the map of protected ports, and those at its edges.
#[test]
fn ports_next_to_each_other_are_all_protected() {
    needs_bpf!();
    let ports = ["22", "23", "25", "63", "64", "127", "128", "65534", "65535"];
    let ports = ["tcp", "udp"].map(|transport| ports.map(|port| format!("{transport}/{port}")));
    let ports = ports.as_flattened();
    let protect: Vec<_> = ports.iter().map(String::as_str).collect();
    let mut programs = Programs::new(&rules(&protect));
    for port in protect {
        expect_from(&mut programs, Pair::CLIENT_V4, port, GateRefused);
    }
    expect_from(&mut programs, Pair::CLIENT_V4, "tcp/24", OutsideWindow);
    expect_from(&mut programs, Pair::CLIENT_V4, "udp/24", NotTcp);
}

#[test]
fn each_of_many_leases_admits_its_source() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&PORTS));
    let sources = ["192.0.2.2/32", "192.0.2.3/32", "2001:db8::2/128", "::2/128"];
    let leases: Vec<_> = sources
        .iter()
        .flat_map(|source| PORTS.map(|port| (*source, port)))
        .collect();
    programs.lease(&leases);
    for (source, port) in leases {
        let network: IpNet = source.parse().unwrap();
        expect_from(&mut programs, network.addr(), port, GateLeased);
    }
}

#[test]
fn a_trusted_network_has_exact_bounds() {
    needs_bpf!();
    let networks = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "198.51.100.64/26",
        "203.0.113.7/32",
        "2001:db8:1::/48",
        "2001:db8:2:300::/56",
        "2001:db8:3:4::/64",
        "2001:db8:5::6/127",
        "2001:db8:7::8/128",
        "fd00::/8",
    ];
    let mut programs = Programs::new(&trusting(rules(&PORTS), &networks));
    for network in networks {
        let network: IpNet = network.parse().unwrap();
        let Edges { inside, outside } = edges(network);
        for port in PORTS {
            for source in inside {
                expect_from(&mut programs, source, port, GateTrusted);
            }
            for source in outside {
                expect_from(&mut programs, source, port, GateRefused);
            }
        }
    }
}

#[test]
fn nested_trusted_networks_are_all_trusted() {
    needs_bpf!();
    let networks = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "2001:db8::/32",
        "2001:db8:1::/48",
    ];
    let mut programs = Programs::new(&trusting(rules(&PORTS), &networks));
    for network in networks {
        let Edges { inside, outside } = edges(network.parse().unwrap());
        for source in inside {
            expect_from(&mut programs, source, "tcp/22", GateTrusted);
        }
        let is_inner = network.starts_with("10.1.") || network.ends_with("/48");
        let outcome = if is_inner { GateTrusted } else { GateRefused };
        for source in outside {
            expect_from(&mut programs, source, "tcp/22", outcome);
        }
    }
}

#[test]
fn a_network_of_one_family_does_not_match_the_other() {
    needs_bpf!();
    let mut programs = Programs::new(&trusting(rules(&PORTS), &["0.0.0.0/0"]));
    for (source, outcome) in [
        ("0.0.0.0", GateTrusted),
        ("192.0.2.2", GateTrusted),
        ("255.255.255.255", GateTrusted),
        ("::", GateRefused),
        ("::192.0.2.2", GateRefused),
        ("::fffe:ffff:ffff", GateRefused),
        ("::1:0:0:0", GateRefused),
        ("2001:db8::2", GateRefused),
        ("::ffff:192.0.2.2", GateRefused),
    ] {
        let source: IpAddr = source.parse().unwrap();
        expect_from(&mut programs, source, "tcp/22", outcome);
    }
    let mut programs = Programs::new(&trusting(rules(&PORTS), &["8000::/1"]));
    expect_from(&mut programs, Pair::CLIENT_V4, "tcp/22", GateRefused);
    expect_from(&mut programs, Pair::CLIENT_V6, "tcp/22", GateRefused);
    expect_from(
        &mut programs,
        Ipv6Addr::from(u128::MAX),
        "tcp/22",
        GateTrusted,
    );
}

#[test]
fn a_trusted_source_needs_no_lease_but_may_have_one() {
    needs_bpf!();
    let networks = ["192.0.2.0/24", "2001:db8::/64"];
    let mut programs = Programs::new(&trusting(rules(&PORTS), &networks));
    for source in ["192.0.2.2", "2001:db8::2"] {
        for port in PORTS {
            let address: IpAddr = source.parse().unwrap();
            programs.lease(&[]);
            expect_from(&mut programs, address, port, GateTrusted);
            programs.lease(&[(&host(source), port)]);
            expect_from(&mut programs, address, port, GateLeased);
        }
    }
}

#[test]
fn an_ipv6_lease_admits_exactly_its_prefix() {
    needs_bpf!();
    for (lens, prefixes) in [
        (
            [128, 64, 56, 48],
            [
                "2001:db8:1:200::/56",
                "2001:db8:1:203::/64",
                "2001:db8:1:203::/128",
                "2001:db8:1:203:ffff:ffff:ffff:ffff/128",
                "2001:db8:2::/48",
                "::/64",
            ],
        ),
        // The edges of the 64-bit halves of an address.
        (
            [1, 63, 65, 127],
            [
                "8000::/1",
                "2001:db8:1:2::/63",
                "2001:db8:1:2::/65",
                "2001:db8:1:2:8000::/65",
                "2001:db8::/127",
                "2001:db8::fffe/127",
            ],
        ),
    ] {
        let rules = Rules {
            prefix_lens: PrefixLens::new(lens).unwrap(),
            ..rules(&PORTS)
        };
        let mut programs = Programs::new(&rules);
        for prefix in prefixes {
            expect_exactly(&mut programs, prefix);
        }
    }
}

#[test]
fn an_ipv4_lease_admits_exactly_its_prefix() {
    needs_bpf!();
    let rules = Rules {
        ipv4_prefix_lens: PrefixLens::new([128, 120, 121, 127]).unwrap(),
        ..rules(&PORTS)
    };
    let mut programs = Programs::new(&rules);
    for prefix in [
        "192.0.2.0/24",
        "192.0.2.128/25",
        "192.0.2.6/31",
        "192.0.2.7/32",
    ] {
        expect_exactly(&mut programs, prefix);
    }
}

/// A lease for `prefix` admits the addresses at its edges, and not those next to them.
fn expect_exactly(programs: &mut Programs, prefix: &str) {
    for port in PORTS {
        programs.lease(&[(prefix, port)]);
        let Edges { inside, outside } = edges(prefix.parse().unwrap());
        for source in inside {
            expect_from(programs, source, port, GateLeased);
        }
        for source in outside {
            expect_from(programs, source, port, GateRefused);
        }
    }
}

/// All IPv4-mapped addresses are in ::/64.
#[test]
fn an_ipv6_lease_does_not_admit_ipv4_addresses() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&PORTS));
    programs.lease(&[("::/64", "tcp/22"), ("::/56", "tcp/22")]);
    expect_from(&mut programs, Pair::CLIENT_V4, "tcp/22", GateRefused);
}

#[test]
fn a_lease_applies_to_its_prefix_length_only() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&PORTS));
    programs.lease(&[
        ("2001:db8::/56", "tcp/22"),
        ("2001:db8:0:1::/64", "tcp/22"),
        ("2001:db8:0:100::/128", "tcp/22"),
    ]);
    for (source, outcome) in [
        ("2001:db8:0:ff::1", GateLeased),
        ("2001:db8:0:1::1", GateLeased),
        ("2001:db8:0:100::", GateLeased),
        ("2001:db8:0:100::1", GateRefused),
        ("2001:db8:0:101::", GateRefused),
    ] {
        let source: IpAddr = source.parse().unwrap();
        expect_from(&mut programs, source, "tcp/22", outcome);
    }
    // The program looks up only the prefix lengths of its configuration.
    let unknown = "2001:db8:9::/48".parse().unwrap();
    let keys = keys(unknown, "tcp/22".parse().unwrap());
    for bench in [&mut programs.enforcing, &mut programs.observing] {
        bench.gate().open(&keys, HOUR).unwrap();
    }
    expect_from(&mut programs, unknown.addr(), "tcp/22", GateRefused);
}

/// No host accepts such a packet, but it must not reveal that the gate is open.
#[test]
fn an_ipv4_mapped_source_is_never_admitted() {
    needs_bpf!();
    let networks = ["198.51.100.0/24"];
    let mut programs = Programs::new(&trusting(rules(&PORTS), &networks));
    for port in PORTS {
        programs.lease(&[("192.0.2.2/32", port), ("::/64", port), ("::/56", port)]);
        for (source, outcome) in [
            (Ipv4Addr::new(192, 0, 2, 2), GateLeased),
            (Ipv4Addr::new(198, 51, 100, 1), GateTrusted),
        ] {
            expect_from(&mut programs, source, port, outcome);
            expect_from(&mut programs, source.to_ipv6_mapped(), port, GateRefused);
        }
    }
}

#[test]
fn exactly_the_protected_ports_are_dropped() {
    needs_bpf!();
    let protected = [
        "tcp/1",
        "tcp/22",
        "tcp/63",
        "tcp/64",
        "tcp/65535",
        "udp/1",
        "udp/22",
        "udp/127",
        "udp/128",
        "udp/65535",
    ];
    let rules = rules(&protected);
    let mut bench = Bench::with_gate(unlimited(Verdict::Drop), &rules);
    assert_eq!(bench.gate().protected(), rules.protect);
    let mut refused = 0;
    for (transport, harmless) in [(Transport::Tcp, OutsideWindow), (Transport::Udp, NotTcp)] {
        let mut passed = 0;
        for number in 0..=u16::MAX {
            let port = Port { transport, number };
            // These are the ports of the window.
            if transport == Transport::Tcp && (61000..=61255).contains(&number) {
                continue;
            }
            let frame = request(Pair::CLIENT_V4.into(), port).bytes().unwrap();
            let is_protected = rules.protect.contains(&port);
            let expected = if is_protected {
                Action::Drop
            } else {
                Action::Pass
            };
            assert_eq!(action(&bench.repeat(&frame, 1)), expected, "{port}");
            refused += u64::from(is_protected);
            passed += u64::from(!is_protected);
        }
        assert_eq!(bench.count(harmless), passed);
    }
    assert_eq!(bench.count(GateRefused), refused);
    assert_eq!(refused, 10);
}

/// The address as a network of a single host.
fn host(source: &str) -> String {
    IpNet::from(source.parse::<IpAddr>().unwrap()).to_string()
}

/// The addresses at the edges of a network.
struct Edges {
    /// The first and the last address.
    inside: [IpAddr; 2],
    /// The addresses before and after, with wrap-around.
    outside: [IpAddr; 2],
}

fn edges(network: IpNet) -> Edges {
    let inside = [network.network(), network.broadcast()];
    let step = |address, by: i8| match address {
        IpAddr::V4(address) => IpAddr::from(Ipv4Addr::from_bits(
            address.to_bits().wrapping_add_signed(by.into()),
        )),
        IpAddr::V6(address) => IpAddr::from(Ipv6Addr::from_bits(
            address.to_bits().wrapping_add_signed(by.into()),
        )),
    };
    Edges {
        inside,
        outside: [step(inside[0], -1), step(inside[1], 1)],
    }
}
