//! Where and how the daemon attaches: traffic control in the place of XDP, interfaces without
//! Ethernet headers, and hosts that forward packets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod router;
mod tc;
mod tun;

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use knock_tests::{
    link::Pair,
    netns::Namespace,
    scene::{CONFIGURATION, PHONE, SOON, SSH, Scene, classic},
    service::{Greeter, try_connect},
};

/// How long a packet that must not be answered is waited for.
const SILENCE: Duration = Duration::from_millis(300);

/// A daemon on these `interfaces` with a gate for tcp/22, and more lines of `[gate]`.
fn configuration(interfaces: &str, gate: &str) -> String {
    let door = CONFIGURATION.replacen(
        "sequence = [1, 2, 3, 4]",
        "sequence = [1, 2, 3, 4]\nopen = [\"tcp/22\"]",
        1,
    );
    format!("interfaces = [{interfaces}]\n{door}\n[gate]\nprotect = [\"tcp/22\"]\n{gate}\n")
}

/// Knocks for the door `ssh` from the client's address `source`, and waits until it is open.
fn knock(scene: &Scene, source: IpAddr) {
    let server = if source.is_ipv4() {
        Pair::SERVER_V4.into()
    } else {
        Pair::SERVER_V6.into()
    };
    knock_at(scene, source, server);
}

/// Like [`knock`], at any address of the server.
fn knock_at(scene: &Scene, source: IpAddr, server: IpAddr) {
    let knock = classic(PHONE, SSH, SocketAddr::new(source, 40_000), server).unwrap();
    scene.send(&knock).unwrap();
    scene.opened("ssh", source).unwrap();
}

/// Asserts that `from` reaches the [`Greeter`] at `address`, port `port`.
fn admits(from: &Namespace, address: impl Into<IpAddr>, port: u16) {
    let server = SocketAddr::new(address.into(), port);
    let greeting = try_connect(from, None, server, SOON);
    assert_eq!(greeting.unwrap(), Greeter::GREETING, "{server}");
}

/// Asserts that nothing answers `from` at `address`, port `port`.
fn refuses(from: &Namespace, address: impl Into<IpAddr>, port: u16) {
    let server = SocketAddr::new(address.into(), port);
    let error = try_connect(from, None, server, SILENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{server}");
}

/// The number of packets with this outcome.
fn kernel_count(scene: &Scene, outcome: &str) -> u64 {
    scene.status().unwrap()["kernel"][outcome].as_u64().unwrap()
}

/// Waits until the daemon's status has `value` at `pointer`.
fn wait_for_status(scene: &Scene, pointer: &str, value: &str) {
    wait_for(|| {
        let status = scene.status().unwrap();
        status.pointer(pointer).is_some_and(|found| found == value)
    });
}

/// Waits until `condition` is true; nothing can be awaited for it.
fn wait_for(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come true");
        thread::sleep(Duration::from_millis(20));
    }
}
