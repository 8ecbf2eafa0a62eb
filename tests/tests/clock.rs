//! The daemon detects changes of the wall clock.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use knock_common::protocol::syn::{Binding, Request, Time40};
use knock_tests::{
    clock::Clock,
    scene::{PAIR_CONFIGURATION, Scene, request, seal},
};

const HOUR: Duration = Duration::from_secs(3600);

/// A daemon with an adjustable clock.
struct Clocked {
    scene: Scene,
    clock: Clock,
    offset: i64,
}

impl Clocked {
    fn new() -> Self {
        let mut scene = Scene::with(PAIR_CONFIGURATION).unwrap();
        scene.stop().unwrap();
        let clock = Clock::new(&scene.pair.server, &scene.files).unwrap();
        scene.restart().unwrap();
        Self {
            scene,
            clock,
            offset: 0,
        }
    }

    /// Sets the daemon's clock to the real time plus `offset` seconds.
    fn set(&mut self, offset: i64) {
        self.offset = offset;
        self.clock.set(offset).unwrap();
    }

    /// A request with the daemon's current time.
    fn fresh(&self) -> Request {
        let template = request("ssh", SOURCES[0].ip()).unwrap();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let now = u64::try_from(now.as_millis()).unwrap();
        Request {
            time: Time40::from_unix_ms(now.saturating_add_signed(self.offset * 1000)),
            binding: Binding::Unbound,
            ..template
        }
    }

    fn send(&self, request: &Request, source: SocketAddr) {
        self.scene
            .send_block(seal(request).unwrap(), source)
            .unwrap();
    }
}

const fn source(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, last)), 40_000)
}

const SOURCES: [SocketAddr; 5] = [source(31), source(32), source(33), source(34), source(35)];

#[test]
fn a_clock_change_is_logged_and_permits_no_replay() {
    knock_tests::needs_bpf!();
    let hour = i64::try_from(HOUR.as_secs()).unwrap();
    let mut clocked = Clocked::new();
    let first = clocked.fresh();
    clocked.send(&first, SOURCES[0]);
    clocked.scene.opened("ssh", SOURCES[0].ip()).unwrap();

    // One hour ahead: the first request is stale, a new one is not.
    clocked.set(hour);
    clocked.send(&first, SOURCES[1]);
    clocked
        .scene
        .logged(&["this host's clock was set forward by 3"])
        .unwrap();
    clocked
        .scene
        .logged(&["refused source=192.0.2.32", "stale by"])
        .unwrap();
    clocked.send(&clocked.fresh(), SOURCES[2]);
    clocked.scene.opened("ssh", SOURCES[2].ip()).unwrap();

    // Set back: the first request would be fresh again.
    clocked.set(0);
    clocked.send(&first, SOURCES[3]);
    clocked
        .scene
        .logged(&["this host's clock was set back by 3"])
        .unwrap();
    clocked
        .scene
        .logged(&["refused source=192.0.2.34 reason=replayed"])
        .unwrap();
    // A new request of the same client is accepted.
    clocked.send(&clocked.fresh(), SOURCES[4]);
    clocked.scene.opened("ssh", SOURCES[4].ip()).unwrap();
}
