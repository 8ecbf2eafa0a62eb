//! A host that forwards packets: what it forwards to others passes, everything else is judged.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use knock_tests::{
    frame::{Extension, Frame},
    link::Pair,
    needs_bpf,
    netns::Namespace,
    scene::Scene,
    service::{Greeter, try_connect},
};

use crate::{SILENCE, admits, configuration, kernel_count, knock, knock_at, refuses, wait_for};

/// The inner network and the host in it.
const LAN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const INNER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const INNER_V6: &str = "2001:db8:1::2";

/// The server of a [`Pair`] as a router between the client and an inner host.
struct Router {
    scene: Scene,
    inner: Namespace,
    _services: [Greeter; 3],
}

/// For each family of addresses: the option of ip(8), the client and the inner host.
fn families() -> [(&'static str, IpAddr, IpAddr); 2] {
    let inner: Ipv6Addr = INNER_V6.parse().unwrap();
    [
        ("-4", Pair::CLIENT_V4.into(), INNER.into()),
        ("-6", Pair::CLIENT_V6.into(), inner.into()),
    ]
}

impl Router {
    fn new(interfaces: &str, gate: &str) -> Self {
        let pair = Pair::new().unwrap();
        let inner = Namespace::new().unwrap();
        let server = &pair.server;
        server
            .run(|| {
                fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
                Ok(fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?)
            })
            .unwrap();
        let inside = inner.path();
        let commands = [
            format!(
                "link add lan0 type veth peer name inn0 netns {}",
                inside.display()
            ),
            "link set dev lan0 addrgenmode none up".into(),
            format!("address add {LAN}/24 dev lan0"),
            "address add 2001:db8:1::1/64 dev lan0 nodad".into(),
            // A router solicits neighbours from a link-local address.
            "address add fe80::1/64 dev lan0 nodad".into(),
            "address add fe80::1/64 dev srv0 nodad".into(),
        ];
        for command in commands {
            server.ip(&command).unwrap();
        }
        let commands = [
            "link set dev inn0 addrgenmode none up".into(),
            format!("address add {INNER}/24 dev inn0"),
            format!("address add {INNER_V6}/64 dev inn0 nodad"),
            format!("route add default via {LAN}"),
            "-6 route add default via 2001:db8:1::1".into(),
        ];
        for command in commands {
            inner.ip(&command).unwrap();
        }
        let client = &pair.client;
        client
            .ip(&format!(
                "route add 198.51.100.0/24 via {}",
                Pair::SERVER_V4
            ))
            .unwrap();
        client
            .ip(&format!(
                "-6 route add 2001:db8:1::/64 via {}",
                Pair::SERVER_V6
            ))
            .unwrap();
        let services = [server, &inner, client].map(|host| Greeter::start(host, 22).unwrap());
        let scene = Scene::on(pair, &configuration(interfaces, gate)).unwrap();
        Self {
            scene,
            inner,
            _services: services,
        }
    }

    /// Adds a rule of the routing that delivers connections of other hosts to port 22 here.
    fn receives_ssh_of_others(&self) {
        let server = &self.scene.pair.server;
        for command in [
            "-6 rule add ipproto tcp dport 22 lookup 100",
            "-6 route add local default dev lo table 100",
        ] {
            server.ip(command).unwrap();
        }
    }

    fn client(&self) -> &Namespace {
        &self.scene.pair.client
    }

    fn nft(&self, rules: &str) {
        let mut nft = self.scene.pair.server.command("nft");
        let output = nft.arg(rules).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn forwarded_packets_pass_in_both_families_and_directions() {
    needs_bpf!();
    let router = Router::new("\"*\"", "");
    admits(router.client(), INNER, 22);
    admits(router.client(), INNER_V6.parse::<Ipv6Addr>().unwrap(), 22);
    admits(&router.inner, Pair::CLIENT_V4, 22);
    admits(&router.inner, Pair::CLIENT_V6, 22);
    assert!(kernel_count(&router.scene, "forwarded") >= 4);
    for own in [Pair::SERVER_V4, LAN] {
        refuses(router.client(), own, 22);
        refuses(&router.inner, own, 22);
    }
    knock(&router.scene, Pair::CLIENT_V4.into());
    admits(router.client(), Pair::SERVER_V4, 22);
    refuses(&router.inner, LAN, 22);
}

/// The window is only that of this host: an inner host may have its own knockd.
#[test]
fn forwarded_syns_to_the_window_are_no_knock() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "");
    let _service = Greeter::start(&router.inner, 61_007).unwrap();
    admits(router.client(), INNER, 61_007);
    assert_eq!(kernel_count(&router.scene, "knock"), 0);
}

/// No list of addresses can be out of date: the kernel's routing is asked for each packet.
#[test]
fn an_address_that_is_added_later_is_judged_at_once() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "");
    let late = Ipv4Addr::new(198, 51, 100, 77);
    let server = &router.scene.pair.server;
    server.ip(&format!("address add {late}/32 dev lo")).unwrap();
    refuses(router.client(), late, 22);
    server.ip(&format!("address del {late}/32 dev lo")).unwrap();
}

/// The provider withdraws the prefixes of the link and of the inner network, and gives others. The
/// daemon is told nothing.
#[test]
fn new_ipv6_prefixes_are_judged_and_forwarded_at_once() {
    needs_bpf!();
    let router = Router::new("\"*\"", "");
    let server = &router.scene.pair.server;
    let [
        new_server,
        new_client,
        new_lan,
        new_inner,
        old_lan,
        old_inner,
    ] = [
        "2001:db8:a::1",
        "2001:db8:a::2",
        "2001:db8:b::1",
        "2001:db8:b::2",
        "2001:db8:1::1",
        INNER_V6,
    ]
    .map(|address| address.parse::<Ipv6Addr>().unwrap());
    admits(router.client(), old_inner, 22);
    refuses(router.client(), old_lan, 22);
    knock(&router.scene, Pair::CLIENT_V6.into());
    admits(router.client(), Pair::SERVER_V6, 22);
    for (host, commands) in [
        (
            server,
            vec![
                format!("address del {}/64 dev srv0", Pair::SERVER_V6),
                format!("address add {new_server}/64 dev srv0 nodad"),
                format!("address del {old_lan}/64 dev lan0"),
                format!("address add {new_lan}/64 dev lan0 nodad"),
            ],
        ),
        (
            &router.inner,
            vec![
                format!("address del {old_inner}/64 dev inn0"),
                format!("address add {new_inner}/64 dev inn0 nodad"),
                // It went with the prefix of the router.
                format!("-6 route replace default via {new_lan}"),
            ],
        ),
        (
            router.client(),
            vec![
                format!("address del {}/64 dev cli0", Pair::CLIENT_V6),
                format!("address add {new_client}/64 dev cli0 nodad"),
                // Also to the prefix that is no longer there.
                format!("-6 route replace 2001:db8:1::/64 via {new_server}"),
                format!("-6 route add 2001:db8:b::/64 via {new_server}"),
            ],
        ),
    ] {
        for command in commands {
            host.ip(&command).unwrap();
        }
    }
    let forwarded = kernel_count(&router.scene, "forwarded");
    admits(router.client(), new_inner, 22);
    admits(&router.inner, new_client, 22);
    assert!(kernel_count(&router.scene, "forwarded") >= forwarded + 2);
    for judged in [new_server, new_lan, old_lan, old_inner] {
        refuses(router.client(), judged, 22);
    }
    refuses(&router.inner, new_lan, 22);
    knock_at(&router.scene, new_client.into(), new_server.into());
    admits(router.client(), new_server, 22);
    admits(router.client(), new_lan, 22);
    refuses(&router.inner, new_lan, 22);
}

/// Here a rule of the routing delivers what is for another host to this one.
#[test]
fn a_rule_for_the_port_is_followed() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "");
    admits(router.client(), INNER, 22);
    let server = &router.scene.pair.server;
    server
        .ip("rule add ipproto tcp dport 22 lookup 100")
        .unwrap();
    server
        .ip("route add local default dev lo table 100")
        .unwrap();
    let forwarded = kernel_count(&router.scene, "forwarded");
    refuses(router.client(), INNER, 22);
    assert_eq!(kernel_count(&router.scene, "forwarded"), forwarded);
    assert!(kernel_count(&router.scene, "gate_refused") > 0);
}

#[test]
fn a_rule_for_the_port_is_followed_in_ipv6_too() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "");
    let inner: Ipv6Addr = INNER_V6.parse().unwrap();
    admits(router.client(), inner, 22);
    router.receives_ssh_of_others();
    let forwarded = kernel_count(&router.scene, "forwarded");
    let refused = kernel_count(&router.scene, "gate_refused");
    refuses(router.client(), inner, 22);
    assert_eq!(kernel_count(&router.scene, "forwarded"), forwarded);
    assert!(kernel_count(&router.scene, "gate_refused") > refused);
}

/// The kernel sees of a fragment which protocol it has, and not which ports.
#[test]
fn a_rule_for_the_protocol_is_followed_for_fragments() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "");
    let server = &router.scene.pair.server;
    for (family, source, inner) in families() {
        for command in [
            "rule add ipproto tcp lookup 100",
            "route add local default dev lo table 100",
        ] {
            server.ip(&format!("{family} {command}")).unwrap();
        }
        let unclear = kernel_count(&router.scene, "gate_unclear");
        let forwarded = kernel_count(&router.scene, "forwarded");
        let source = SocketAddr::new(source, 40_001);
        let syn = Frame::syn(source, SocketAddr::new(inner, 22)).payload(vec![0; 64]);
        for fragment in syn.fragments(32).unwrap() {
            router.scene.sender.send(&fragment).unwrap();
        }
        wait_for(|| kernel_count(&router.scene, "gate_unclear") > unclear);
        assert_eq!(kernel_count(&router.scene, "forwarded"), forwarded);
    }
}

/// The kernel follows more extension headers than the program.
#[test]
fn what_has_too_many_extension_headers_is_never_certain_to_be_forwarded() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "");
    router.receives_ssh_of_others();
    let forwarded = kernel_count(&router.scene, "forwarded");
    let unclear = kernel_count(&router.scene, "gate_unclear");
    let source = SocketAddr::new(Pair::CLIENT_V6.into(), 40_001);
    let inner = SocketAddr::new(INNER_V6.parse().unwrap(), 22);
    let mut syn = Frame::syn(source, inner);
    for _ in 0..9 {
        syn = syn.extension(Extension::destination_options());
    }
    router.scene.send(&[syn]).unwrap();
    wait_for(|| kernel_count(&router.scene, "gate_unclear") > unclear);
    assert_eq!(kernel_count(&router.scene, "forwarded"), forwarded);
}

/// The kernel finds the port for its rules behind extension headers.
#[test]
fn an_extension_header_does_not_hide_the_port_from_a_rule() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "");
    let inner = SocketAddr::new(INNER_V6.parse().unwrap(), 22);
    router.receives_ssh_of_others();
    let forwarded = kernel_count(&router.scene, "forwarded");
    let refused = kernel_count(&router.scene, "gate_refused");
    let source = SocketAddr::new(Pair::CLIENT_V6.into(), 40_001);
    let syn = Frame::syn(source, inner).extension(Extension::destination_options());
    router.scene.send(&[syn]).unwrap();
    wait_for(|| kernel_count(&router.scene, "gate_refused") > refused);
    assert_eq!(kernel_count(&router.scene, "forwarded"), forwarded);
}

#[test]
fn a_rule_for_the_class_of_traffic_is_followed() {
    needs_bpf!();
    /// Without the lowest bits, which are about congestion.
    const CLASS: u8 = 0x10;
    let router = Router::new("\"srv0\"", "");
    let server = &router.scene.pair.server;
    for (family, source, inner) in families() {
        let rule = format!("{family} rule add tos {CLASS:#x} lookup 100");
        server.ip(&rule).unwrap();
        let route = format!("{family} route add local default dev lo table 100");
        server.ip(&route).unwrap();
        let refused = kernel_count(&router.scene, "gate_refused");
        let source = SocketAddr::new(source, 40_001);
        let syn = Frame::syn(source, SocketAddr::new(inner, 22));
        let [forwarded, local] = [0, CLASS].map(|class| Frame {
            class,
            ..syn.clone()
        });
        let before = kernel_count(&router.scene, "forwarded");
        router.scene.send(&[forwarded, local]).unwrap();
        wait_for(|| kernel_count(&router.scene, "gate_refused") == refused + 1);
        assert_eq!(kernel_count(&router.scene, "forwarded"), before + 1);
    }
}

/// What the host would not forward is judged: there is no route, or it does not forward at all.
#[test]
fn in_doubt_a_packet_is_judged() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "");
    let server = &router.scene.pair.server;
    let unroutable = Ipv4Addr::new(203, 0, 113, 9);
    router
        .client()
        .ip(&format!("route add {unroutable} via {}", Pair::SERVER_V4))
        .unwrap();
    refuses(router.client(), unroutable, 22);
    assert!(kernel_count(&router.scene, "gate_refused") > 0);
    let refused = kernel_count(&router.scene, "gate_refused");
    server
        .run(|| Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "0")?))
        .unwrap();
    refuses(router.client(), INNER, 22);
    assert!(kernel_count(&router.scene, "gate_refused") > refused);
}

#[test]
fn forwarded_packets_are_judged_if_the_administrator_wants_it() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "forward = \"judge\"");
    refuses(router.client(), INNER, 22);
    knock(&router.scene, Pair::CLIENT_V4.into());
    admits(router.client(), INNER, 22);
}

#[test]
fn listed_addresses_are_judged_and_no_others() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "addresses = [\"198.51.100.0/24\"]");
    admits(router.client(), Pair::SERVER_V4, 22);
    admits(router.client(), Pair::SERVER_V6, 22);
    refuses(router.client(), INNER, 22);
    refuses(router.client(), LAN, 22);
}

/// Another interface receives the packets of a member, and its routing decides.
#[test]
fn on_a_member_of_a_bridge_nothing_counts_as_forwarded() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "");
    admits(router.client(), INNER, 22);
    let server = &router.scene.pair.server;
    for command in [
        "link add br0 address 02:00:00:00:00:01 type bridge",
        "link set dev br0 up",
        "address flush dev srv0",
        "link set dev srv0 master br0",
        "address add 192.0.2.1/24 dev br0",
    ] {
        server.ip(command).unwrap();
    }
    // The daemon learns of it by a notification.
    wait_for(|| {
        let refused = kernel_count(&router.scene, "gate_refused");
        let server = SocketAddr::new(INNER.into(), 22);
        let result = try_connect(router.client(), None, server, SILENCE);
        result.is_err() && kernel_count(&router.scene, "gate_refused") > refused
    });
}

/// A published port is one of the host's own, until the host translates its address.
#[test]
fn a_door_opens_a_published_port_of_an_inner_host() {
    needs_bpf!();
    let router = Router::new("\"*\"", "");
    router.nft(
        "table ip nat {
            chain prerouting {
                type nat hook prerouting priority dstnat;
                iifname \"srv0\" ip daddr 192.0.2.1 tcp dport 22 dnat to 198.51.100.2
            }
            chain postrouting {
                type nat hook postrouting priority srcnat;
                oifname \"srv0\" masquerade
            }
        }",
    );
    refuses(router.client(), Pair::SERVER_V4, 22);
    admits(&router.inner, Pair::CLIENT_V4, 22);
    knock(&router.scene, Pair::CLIENT_V4.into());
    admits(router.client(), Pair::SERVER_V4, 22);
}

/// Containers behind a bridge of the host: their own connections pass, those to the host are judged.
#[test]
fn a_bridge_of_containers() {
    needs_bpf!();
    let router = Router::new("\"*\"", "");
    let server = &router.scene.pair.server;
    let container = Namespace::new().unwrap();
    let commands = [
        "link add docker0 type bridge".into(),
        "address add 172.17.0.1/16 dev docker0".into(),
        "link set dev docker0 up".into(),
        format!(
            "link add port0 type veth peer name eth0 netns {}",
            container.path().display()
        ),
        "link set dev port0 master docker0 up".into(),
    ];
    for command in commands {
        server.ip(&command).unwrap();
    }
    for command in [
        "link set dev eth0 up",
        "address add 172.17.0.2/16 dev eth0",
        "route add default via 172.17.0.1",
    ] {
        container.ip(command).unwrap();
    }
    router.scene.logged(&["attached to docker0"]).unwrap();
    router
        .client()
        .ip(&format!("route add 172.17.0.0/16 via {}", Pair::SERVER_V4))
        .unwrap();
    let _service = Greeter::start(&container, 22).unwrap();
    admits(&container, Pair::CLIENT_V4, 22);
    admits(&container, INNER, 22);
    admits(router.client(), Ipv4Addr::new(172, 17, 0, 2), 22);
    refuses(&container, Ipv4Addr::new(172, 17, 0, 1), 22);
}

/// A MAC-VLAN has its own MAC address, and the host is behind it all the same.
#[test]
fn an_address_on_a_macvlan_is_judged() {
    needs_bpf!();
    let router = Router::new("\"srv0\"", "");
    let server = &router.scene.pair.server;
    let address = Ipv4Addr::new(192, 0, 2, 9);
    for command in [
        "link add link srv0 name mv0 type macvlan mode bridge".to_owned(),
        "link set dev mv0 up".into(),
        format!("address add {address}/32 dev mv0"),
    ] {
        server.ip(&command).unwrap();
    }
    refuses(router.client(), address, 22);
    knock(&router.scene, Pair::CLIENT_V4.into());
    admits(router.client(), address, 22);
}
