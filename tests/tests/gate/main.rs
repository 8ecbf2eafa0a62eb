//! Doors that the kernel enforces: the real daemon, a real link and services behind the gate.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod crash;
mod kill;
mod limits;
mod manual;
mod observe;
mod owner;
mod stop;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use knock_tests::{
    link::Pair,
    scene::{PHONE, SOON, Scene, classic, program},
    service::{Greeter, Session, is_admitted},
};
use serde_json::Value;

/// Different doors that open ports 22 and 51820. The commands write to the file `commands`.
const CONFIGURATION: &str = r#"
control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"

[[client]]
name = "phone"
protocol = "classic"
passphrase_file = "phone.passphrase"

[[door]]
name = "ssh"
sequence = [1, 2, 3, 4]
open = ["tcp/22"]
for = "1h"

[[door]]
name = "short"
sequence = [5]
open = ["tcp/22"]
for = "2s"

[[door]]
name = "vpn"
sequence = [6]
open = ["udp/51820"]
for = "2s"

[[door]]
name = "all"
sequence = [7]
open = ["tcp/22", "udp/51820"]
run = ["sh", "-c", "echo open $KNOCK_IP $KNOCK_CLIENT >> {folder}/commands"]
close = ["sh", "-c", "echo close $KNOCK_IP $KNOCK_CLIENT >> {folder}/commands"]
for = "1h"

[[door]]
name = "failing"
sequence = [8]
open = ["tcp/22"]
run = ["false"]
for = "1h"

[[door]]
name = "network"
sequence = [9]
open = ["tcp/22"]
ipv6_prefix = 64
for = "1h"

[gate]
protect = ["tcp/22", "udp/51820"]
trusted = ["192.0.2.192/26"]
udp_idle = "2s"
"#;

/// Time limit for answers that should not arrive.
const SILENCE: Duration = Duration::from_millis(300);

/// The source that knocks, one that does not, and a trusted one.
const KNOCKER: IpAddr = IpAddr::V4(Pair::CLIENT_V4);
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66));
const TRUSTED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 200));

/// A daemon with a gate and a TCP service on port 22 behind it.
struct Gated {
    scene: Scene,
    _ssh: Greeter,
}

impl Gated {
    fn new() -> Self {
        Self::with(CONFIGURATION)
    }

    fn with(configuration: &str) -> Self {
        let scene = Scene::with(configuration).unwrap();
        for address in [STRANGER, TRUSTED] {
            scene.pair.add_client_address(address).unwrap();
        }
        let ssh = Greeter::start(&scene.pair.server, 22).unwrap();
        Self { scene, _ssh: ssh }
    }

    /// Sends a knock from `source` and waits until the gate admits it.
    fn knock(&self, sequence: &[u8], source: IpAddr) {
        let mark = self.scene.knockd.mark();
        self.send_knock(sequence, source);
        let source = format!("source={source}");
        self.scene
            .knockd
            .wait_for_after(
                mark,
                |line| line.contains("gate open") && line.ends_with(&source),
                SOON,
            )
            .unwrap();
    }

    fn send_knock(&self, sequence: &[u8], source: IpAddr) {
        let server: IpAddr = match source {
            IpAddr::V4(_) => Pair::SERVER_V4.into(),
            IpAddr::V6(_) => Pair::SERVER_V6.into(),
        };
        let source = SocketAddr::new(source, 40_000);
        let frames = classic(PHONE, sequence, source, server).unwrap();
        self.scene.send(&frames).unwrap();
    }

    /// Connects from `source` to the service.
    fn connect(&self, source: IpAddr) -> io::Result<Session> {
        self.connect_within(source, SOON)
    }

    fn connect_within(&self, source: IpAddr, timeout: Duration) -> io::Result<Session> {
        let server: IpAddr = match source {
            IpAddr::V4(_) => Pair::SERVER_V4.into(),
            IpAddr::V6(_) => Pair::SERVER_V6.into(),
        };
        let server = SocketAddr::new(server, 22);
        Session::open(&self.scene.pair.client, Some(source), server, timeout)
    }

    /// Asserts that a connection from `source` succeeds.
    fn admits(&self, source: IpAddr) {
        let connected = self.connect(source);
        assert!(connected.is_ok(), "{source}: {:?}", connected.err());
    }

    /// Asserts that a connection attempt from `source` gets no answer.
    fn refuses(&self, source: IpAddr) {
        assert!(!self.answers(source, SILENCE), "{source} is admitted");
    }

    /// Whether a connection from `source` succeeds.
    fn answers(&self, source: IpAddr, timeout: Duration) -> bool {
        match self.connect_within(source, timeout) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(
                    error.kind(),
                    io::ErrorKind::TimedOut,
                    "the gate drops without an answer"
                );
                false
            }
        }
    }

    /// Whether the gate admits `source`.
    fn is_admitted(&self, source: IpAddr) -> bool {
        let server = SocketAddr::new(Pair::SERVER_V4.into(), 22);
        is_admitted(&self.scene.pair.client, source, TRUSTED, server).unwrap()
    }

    /// Waits until the gate no longer admits `source`.
    fn awaits_refusal(&self, source: IpAddr) {
        let deadline = Instant::now() + SOON;
        while self.is_admitted(source) {
            assert!(Instant::now() < deadline, "{source} is still admitted");
        }
    }

    /// Runs `knockd` with `arguments` and this daemon's configuration on the server.
    fn knockd(&self, arguments: &[&str]) -> std::process::Output {
        let mut knockd = self.scene.pair.server.command(program("knockd").unwrap());
        knockd.args(arguments).arg("--config");
        knockd.arg(self.scene.files.path("knockd.toml"));
        knockd.output().unwrap()
    }

    /// Like `knockd`, but asserts success and returns the standard output.
    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.knockd(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn leases(&self) -> Vec<Value> {
        serde_json::from_str(&self.ask(&["leases", "--json"])).unwrap()
    }

    fn kernel_count(&self, counter: &str) -> u64 {
        self.scene.status().unwrap()["kernel"][counter]
            .as_u64()
            .unwrap()
    }

    /// Waits for a log line that contains all of `parts`, including lines logged before.
    fn logged(&self, parts: &[&str]) {
        self.scene.logged(parts).unwrap();
    }
}

/// A socket on the protected UDP port of the server.
struct Datagrams {
    server: UdpSocket,
}

impl Datagrams {
    const PORT: u16 = 51820;

    fn new(gated: &Gated) -> Self {
        let server = gated
            .scene
            .pair
            .server
            .run(|| Ok(UdpSocket::bind((Pair::SERVER_V4, Self::PORT))?));
        Self {
            server: server.unwrap(),
        }
    }

    /// Asserts that a datagram from `source` reaches the server.
    fn arrive(&self, gated: &Gated, source: IpAddr) {
        let sent = Self::send(gated, source);
        self.server.set_read_timeout(Some(SOON)).unwrap();
        let (_, from) = self.server.recv_from(&mut [0; 16]).unwrap();
        assert_eq!(from, sent);
    }

    /// Asserts that a datagram from `source` does not reach the server.
    fn are_lost(&self, gated: &Gated, source: IpAddr) {
        Self::send(gated, source);
        self.server.set_read_timeout(Some(SILENCE)).unwrap();
        let error = loop {
            match self.server.recv_from(&mut [0; 16]) {
                // A stopped and continued process gets this although no handler ran: signal(7).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => break received.unwrap_err(),
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    fn send(gated: &Gated, source: IpAddr) -> SocketAddr {
        let socket = gated.scene.pair.client.run(|| {
            let socket = UdpSocket::bind((source, 0))?;
            socket.send_to(b"hello", (Pair::SERVER_V4, Self::PORT))?;
            Ok(socket)
        });
        socket.unwrap().local_addr().unwrap()
    }
}
