//! A server with two services behind the XDP program, and a client.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    num::NonZeroU32,
    time::Duration,
};

use knock_common::{
    gate::{HOST, LeaseKey, Mode, PrefixLens, Transport},
    settings::{DEFAULT_EVENT_RATE, Destinations, Settings, Verdict},
    window::Window,
};
use knock_tests::kernel_log::KernelLog;
use knock_tests::{
    frame::{Frame, Segment},
    link::Pair,
    scene::SOON,
    service::Greeter,
    wire::{Capture, Captured, Direction, Sender},
};
use knockd_types::{
    interface::Wanted,
    rules::{Opening, Port, Rules},
};
use knockd_xdp::{leases::Gate, program::Xdp};
use tokio::runtime::{Builder, Runtime};

use crate::row::{Judgement, Row};

pub(crate) const SERVER: [IpAddr; 2] = [IpAddr::V4(Pair::SERVER_V4), IpAddr::V6(Pair::SERVER_V6)];
pub(crate) const CLIENT: [IpAddr; 2] = [IpAddr::V4(Pair::CLIENT_V4), IpAddr::V6(Pair::CLIENT_V6)];

/// The protected ports.
pub(crate) const TCP_PORT: u16 = 22;
pub(crate) const UDP_PORT: u16 = 51820;

/// An unprotected port without a socket: the kernel answers every SYN to it.
const CLOSED_PORT: u16 = 9;

/// Distance between the source ports of a marker and of the frames before it.
const MARKER: u16 = 20_000;

/// Rules that protect both ports from every source.
pub(crate) fn enforced() -> Rules {
    Rules {
        protect: ports(),
        trusted: Vec::new(),
        destinations: Destinations::default(),
        addresses: Vec::new(),
        mode: Mode::Enforce,
        udp_idle: Duration::from_secs(60),
        ipv4_prefix_lens: PrefixLens::new([HOST]).unwrap(),
        prefix_lens: PrefixLens::new([HOST]).unwrap(),
        max_leases: NonZeroU32::new(16).unwrap(),
    }
}

fn ports() -> Vec<Port> {
    let port = |transport, number| Port { transport, number };
    vec![
        port(Transport::Tcp, TCP_PORT),
        port(Transport::Udp, UDP_PORT),
    ]
}

/// The leases that admit `source` to both ports.
fn leases(source: IpAddr) -> Vec<LeaseKey> {
    let opening = Opening {
        ports: ports(),
        ipv4_prefix: 32,
        ipv6_prefix: HOST,
    };
    opening.keys(source)
}

/// A server with two services behind the XDP program, and a client.
pub(crate) struct Host {
    pub(crate) pair: Pair,
    xdp: Xdp,
    gate: Option<Gate>,
    _service: Greeter,
    datagrams: UdpSocket,
    sender: Sender,
    capture: Capture,
    /// The program's ring buffers are polled in this runtime.
    _runtime: Runtime,
}

impl Host {
    pub(crate) fn with_gate(rules: &Rules) -> Self {
        Self::new(Some(rules))
    }

    pub(crate) fn without_gate() -> Self {
        Self::new(None)
    }

    fn new(rules: Option<&Rules>) -> Self {
        let pair = Pair::new().unwrap();
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let settings = Settings::new(Window::DEFAULT, Verdict::Drop, DEFAULT_EVENT_RATE);
        let attached = pair.server.run(|| {
            let _entered = runtime.enter();
            let (mut xdp, gate) = match rules {
                Some(rules) => {
                    let (xdp, gate) = Xdp::load_with_gate(settings, rules, KernelLog::discarded())?;
                    (xdp, Some(gate))
                }
                None => (Xdp::load(settings, KernelLog::discarded())?, None),
            };
            let wanted = Wanted::by_name([Pair::SERVER_INTERFACE]);
            xdp.attach(&wanted, None)?;
            Ok((xdp, gate))
        });
        let (xdp, gate) = attached.unwrap();
        let bind = || Ok(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, UDP_PORT))?);
        let datagrams = pair.server.run(bind).unwrap();
        datagrams.set_nonblocking(true).unwrap();
        Self {
            _service: Greeter::start(&pair.server, TCP_PORT).unwrap(),
            datagrams,
            sender: Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap(),
            capture: Capture::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap(),
            pair,
            xdp,
            gate,
            _runtime: runtime,
        }
    }

    /// Grants `source` leases that outlive the test.
    pub(crate) fn open(&mut self, source: IpAddr) {
        let gate = self.gate.as_mut().unwrap();
        gate.open(&leases(source), Duration::from_secs(3600))
            .unwrap();
    }

    /// Revokes the leases of `source`.
    pub(crate) fn close(&mut self, source: IpAddr) {
        self.gate.as_mut().unwrap().close(&leases(source)).unwrap();
    }

    /// Sends `row` from the client's port `port`, which must be unused. Returns whether it was
    /// delivered and why the gate dropped it, or would have in observe mode.
    pub(crate) fn send(&self, row: &Row, port: u16) -> (bool, Option<Judgement>) {
        let before = self.held_back();
        let answers = self.exchange(row, port);
        let delivered = match row.transport {
            Transport::Tcp => answers.iter().any(|answer| {
                let flags = &answer.header;
                answer.destination.port() == port && flags.syn && flags.ack
            }),
            Transport::Udp => self.received().contains(&port),
        };
        let [refused, unclear] = self.held_back();
        let judgement = match (refused > before[0], unclear > before[1]) {
            (false, false) => None,
            (true, false) => Some(Judgement::Refused),
            (false, true) => Some(Judgement::Unclear),
            (true, true) => panic!("{} was judged twice", row.name),
        };
        (delivered, judgement)
    }

    /// Sends the frames of `row` and returns the segments that the client receives until the server
    /// has processed all frames.
    fn exchange(&self, row: &Row, port: u16) -> Vec<Segment> {
        for frame in row.frames(port) {
            self.sender.send(&frame).unwrap();
        }
        // Two markers, because GRO may reorder packets that the kernel receives in one batch. The
        // second marker is sent after the answer to the first, so it is not in the batch of the
        // frames.
        let markers = [MARKER, 2 * MARKER].map(|distance| self.marker(row, port + distance));
        let answers = markers.into_iter().flatten();
        answers
            .filter(|it| it.direction == Direction::In)
            .filter_map(|it| Segment::read(&it.bytes))
            .collect()
    }

    /// Sends a SYN that is always answered, to the destination of `row`, so that both answers wait
    /// for the same neighbour entry. Returns the captured frames up to the answer.
    fn marker(&self, row: &Row, port: u16) -> Vec<Captured> {
        let source = SocketAddr::new(row.source, port);
        let marker = Frame::syn(source, SocketAddr::new(row.destination, CLOSED_PORT));
        self.sender.send(&marker.bytes().unwrap()).unwrap();
        let is_answer = |captured: &Captured| {
            Segment::read(&captured.bytes).is_some_and(|it| it.destination == source)
        };
        self.capture.until(is_answer, SOON).unwrap()
    }

    /// The source ports of the datagrams received so far.
    fn received(&self) -> Vec<u16> {
        let mut ports = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            match self.datagrams.recv_from(&mut buffer) {
                Ok((_, source)) => ports.push(source.port()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return ports,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Number of packets that were refused and that were unclear.
    fn held_back(&self) -> [u64; 2] {
        let counters = self.xdp.counters().unwrap();
        ["gate_refused", "gate_unclear"].map(|name| counters[name])
    }
}
