//! A service behind a firewall, and a daemon that opens it.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use knock_tests::{
    link::Pair,
    scene::{SOON, SOURCE, Scene, request, seal},
    service::{Greeter, try_connect},
};

pub(crate) const CLIENT: [IpAddr; 2] = [IpAddr::V4(Pair::CLIENT_V4), IpAddr::V6(Pair::CLIENT_V6)];
pub(crate) const OTHER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3)),
];

/// Time limit after which a connection counts as refused. Only the first SYN matters: it is
/// retransmitted after a second.
const SILENCE: Duration = Duration::from_millis(300);

/// The example with another time, so that a test sees its end.
pub(crate) fn with_time(example: &str, from: &str, to: &str) -> String {
    assert_eq!(example.matches(from).count(), 1, "{example}");
    example.replace(from, to)
}

pub(crate) struct Site {
    pub(crate) scene: Scene,
    door: &'static str,
    port: u16,
    _service: Greeter,
}

impl Site {
    /// Starts the daemon on the server of `pair` with an example. Its door opens `port`, on which
    /// `service` answers.
    pub(crate) fn new(
        pair: Pair,
        example: &str,
        (door, port): (&'static str, u16),
        service: Greeter,
    ) -> Self {
        for address in OTHER {
            pair.add_client_address(address).unwrap();
        }
        let configuration = format!(
            "control_socket = \"{{folder}}/knockd.sock\"\nstate_dir = \"{{folder}}/state\"\n{}",
            example.replace("eth0", Pair::SERVER_INTERFACE)
        );
        Self {
            scene: Scene::on(pair, &configuration).unwrap(),
            door,
            port,
            _service: service,
        }
    }

    /// The same with sshd's port, on which the server itself answers.
    pub(crate) fn ssh(pair: Pair, example: &str) -> Self {
        let service = Greeter::start(&pair.server, 22).unwrap();
        Self::new(pair, example, ("ssh", 22), service)
    }

    /// Sends a knock for the door.
    pub(crate) fn knock(&self, source: IpAddr) {
        let block = seal(&request(self.door, source).unwrap()).unwrap();
        let source = SocketAddr::new(source, SOURCE.port());
        self.scene.send_block(block, source).unwrap();
    }

    /// Whether `source` reaches the service.
    pub(crate) fn admits(&self, source: IpAddr) -> bool {
        let server: IpAddr = match source {
            IpAddr::V4(_) => Pair::SERVER_V4.into(),
            IpAddr::V6(_) => Pair::SERVER_V6.into(),
        };
        let destination = SocketAddr::new(server, self.port);
        match try_connect(&self.scene.pair.client, Some(source), destination, SILENCE) {
            Ok(greeting) => greeting == Greeter::GREETING,
            Err(error) => {
                let kind = error.kind();
                // Some firewalls answer that the service is out of reach.
                let refused = [ErrorKind::HostUnreachable, ErrorKind::PermissionDenied];
                assert!(
                    kind == ErrorKind::TimedOut || refused.contains(&kind),
                    "{source}: {error}"
                );
                false
            }
        }
    }

    /// Waits until the service admits `source`, or until it does not.
    #[track_caller]
    pub(crate) fn until(&self, admitted: bool, source: IpAddr) {
        let deadline = Instant::now() + SOON;
        while self.admits(source) != admitted {
            assert!(
                Instant::now() < deadline,
                "{source}: {:?}",
                self.scene.knockd.lines()
            );
        }
    }

    /// Knocks from each of `sources`, none of which is admitted before. The service admits them for a
    /// time, and nobody else of their families.
    #[track_caller]
    pub(crate) fn opens_for_a_time(&self, sources: &[IpAddr]) {
        for source in sources {
            assert!(
                !self.admits(*source),
                "{source} is admitted before it knocks"
            );
            self.knock(*source);
        }
        for source in sources {
            self.until(true, *source);
        }
        let has_family = |it: &IpAddr| {
            sources
                .iter()
                .any(|source| source.is_ipv4() == it.is_ipv4())
        };
        for other in OTHER.into_iter().filter(has_family) {
            assert!(!self.admits(other), "{other} has not knocked");
        }
        for source in sources {
            self.until(false, *source);
        }
    }
}
