//! Interfaces without Ethernet headers.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use knock_tests::{
    frame::{Frame, Segment},
    link::Pair,
    needs_bpf,
    scene::{PHONE, SOON, SSH, Scene, classic},
    service::Greeter,
    tun::Tun,
};

use crate::{SILENCE, configuration, kernel_count};

const ETHERNET: usize = 14;
const HOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1)),
];
const PEER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 2)),
];

struct Tunnel {
    scene: Scene,
    tun: Tun,
    _ssh: Greeter,
}

impl Tunnel {
    fn new(interfaces: &str) -> Self {
        let pair = Pair::new().unwrap();
        let tun = Tun::new(&pair.server, "tun0").unwrap();
        for command in [
            "link set dev tun0 addrgenmode none up",
            "address add 10.9.0.1/24 dev tun0",
            "address add fd00:9::1/64 dev tun0 nodad",
        ] {
            pair.server.ip(command).unwrap();
        }
        let ssh = Greeter::start(&pair.server, 22).unwrap();
        Self {
            scene: Scene::on(pair, &configuration(interfaces, "")).unwrap(),
            tun,
            _ssh: ssh,
        }
    }

    fn send(&self, frame: &Frame) {
        self.tun.send(&frame.bytes().unwrap()[ETHERNET..]).unwrap();
    }

    /// Whether a SYN from the peer to port 22 is answered.
    fn is_answered(&self, [peer, host]: [IpAddr; 2], source_port: u16, wait: Duration) -> bool {
        let source = SocketAddr::new(peer, source_port);
        self.send(&Frame::syn(source, SocketAddr::new(host, 22)));
        let header = match peer {
            IpAddr::V4(_) => [0x08, 0x00],
            IpAddr::V6(_) => [0x86, 0xdd],
        };
        let is_answer = |packet: &[u8]| {
            let frame = [&[0; ETHERNET - 2][..], &header, packet].concat();
            Segment::read(&frame).is_some_and(|answer| answer.destination == source)
        };
        self.tun.receive(is_answer, wait).is_ok()
    }
}

#[test]
fn a_tunnel_has_its_gate_and_its_knocks_by_tc() {
    needs_bpf!();
    for interfaces in ["\"tun0\"", "\"*\"", "{ name = \"tun0\", attach = \"tc\" }"] {
        let tunnel = Tunnel::new(interfaces);
        tunnel
            .scene
            .logged(&["attached to tun0 in tc mode"])
            .unwrap();
        for (ends, port) in [[PEER[0], HOST[0]], [PEER[1], HOST[1]]]
            .into_iter()
            .zip([40_000, 41_000])
        {
            assert!(!tunnel.is_answered(ends, port, SILENCE), "{ends:?}");
            let [peer, host] = ends;
            let source = SocketAddr::new(peer, port);
            for frame in classic(PHONE, SSH, source, host).unwrap() {
                tunnel.send(&frame);
            }
            tunnel.scene.opened("ssh", peer).unwrap();
            assert!(tunnel.is_answered(ends, port + 100, SOON), "{ends:?}");
        }
        assert_eq!(kernel_count(&tunnel.scene, "gate_refused"), 2);
    }
}

/// What the kernel or a peer may put on a tunnel is not always an IP packet.
#[test]
fn garbage_on_a_tunnel_passes_or_is_unclear() {
    needs_bpf!();
    let tunnel = Tunnel::new("\"tun0\"");
    let frame = Frame::syn(
        SocketAddr::new(PEER[0], 40_000),
        SocketAddr::new(HOST[0], 22),
    );
    let packet = frame.bytes().unwrap().split_off(ETHERNET);
    for len in 1..packet.len() {
        // The driver itself refuses what has no IP version.
        let _ = tunnel.tun.send(&packet[..len]);
    }
    assert!(!tunnel.is_answered([PEER[0], HOST[0]], 40_001, SILENCE));
    assert!(kernel_count(&tunnel.scene, "gate_unclear") > 0);
}
