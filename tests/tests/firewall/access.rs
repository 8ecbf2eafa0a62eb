//! Which addresses reach the protected port, and when.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use knock_tests::{
    frame::{Frame, Segment},
    link::Pair,
    process::Running,
    service::{Greeter, Session, try_connect},
    wire::{Capture, Sender},
};

use crate::script::{Firewall, Variant};

/// Time limit for anything that should happen immediately; only a failing test waits this long.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Time limit after which a connection counts as refused. Only the first SYN matters: it is
/// retransmitted after a second.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

pub(crate) const PORT: u16 = 22;

pub(crate) const SERVER: [IpAddr; 2] = [IpAddr::V4(Pair::SERVER_V4), IpAddr::V6(Pair::SERVER_V6)];
pub(crate) const CLIENT: [IpAddr; 2] = [IpAddr::V4(Pair::CLIENT_V4), IpAddr::V6(Pair::CLIENT_V6)];
pub(crate) const OTHER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3)),
];

pub(crate) fn can_connect(pair: &Pair, source: IpAddr, port: u16) -> bool {
    let server = if source.is_ipv4() {
        SERVER[0]
    } else {
        SERVER[1]
    };
    let destination = SocketAddr::new(server, port);
    match try_connect(&pair.client, Some(source), destination, SILENCE) {
        Ok(greeting) => greeting == Greeter::GREETING,
        Err(error) => {
            assert_eq!(
                error.kind(),
                ErrorKind::TimedOut,
                "the packet was not dropped silently: {error}"
            );
            false
        }
    }
}

pub(crate) fn pair() -> Pair {
    let pair = Pair::new().unwrap();
    for address in OTHER {
        pair.add_client_address(address).unwrap();
    }
    pair
}

pub(crate) fn only_open_addresses_can_connect(variant: Variant) {
    if !variant.is_testable() {
        return;
    }
    let pair = pair();
    let _service = Greeter::start(&pair.server, PORT).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    let all_sources = || CLIENT.into_iter().chain(OTHER);
    assert!(all_sources().all(|source| can_connect(&pair, source, PORT)));

    firewall.run(&["setup"]);
    assert!(!all_sources().any(|source| can_connect(&pair, source, PORT)));
    for (ours, other) in CLIENT.into_iter().zip(OTHER) {
        firewall.run(&["open", &ours.to_string()]);
        assert!(can_connect(&pair, ours, PORT));
        assert!(!can_connect(&pair, other, PORT));
        let status = firewall.run(&["status"]);
        assert!(status.contains(&ours.to_string()), "{status}");

        firewall.run(&["close", &ours.to_string()]);
        assert!(!can_connect(&pair, ours, PORT));
    }
    assert!(firewall.run(&["status"]).contains("open for: none"));
    // The loopback interface is exempt.
    let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT);
    try_connect(&pair.server, None, here, SOON).unwrap();
}

pub(crate) fn established_connections_continue(variant: Variant) {
    if !variant.is_testable() {
        return;
    }
    let pair = pair();
    let _service = Greeter::start(&pair.server, PORT).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    firewall.run(&["setup"]);
    for (source, server) in CLIENT.into_iter().zip(SERVER) {
        firewall.run(&["open", &source.to_string()]);
        let destination = SocketAddr::new(server, PORT);
        let mut session = Session::open(&pair.client, Some(source), destination, SOON).unwrap();
        firewall.run(&["close", &source.to_string()]);
        assert!(!can_connect(&pair, source, PORT));
        assert_eq!(session.ask("after close").unwrap(), "after close");
        firewall.run(&["setup", "22", "2222"]);
        assert_eq!(session.ask("after setup").unwrap(), "after setup");
    }
}

pub(crate) fn a_repeated_setup_never_opens_the_port(variant: Variant) {
    if !variant.is_testable() {
        return;
    }
    let pair = pair();
    let _service = Greeter::start(&pair.server, PORT).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    firewall.run(&["setup"]);
    firewall.run(&["open", &OTHER[0].to_string()]);
    let capture = Capture::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let syn = |source: IpAddr, port| {
        let source = SocketAddr::new(source, port);
        Frame::syn(source, SocketAddr::new(SERVER[0], PORT))
            .bytes()
            .unwrap()
    };
    let answer = |it: &[u8]| Segment::read(it).filter(|it| it.source.ip() == SERVER[0]);
    let mut source_ports = (1024..32768).cycle();
    let mut probes = 0;
    for ports in [["22", "80"], ["22", "443"]].iter().cycle().take(10) {
        let arguments = [&["setup"][..], ports].concat();
        let mut setup = Running::spawn(firewall.command(&[], &arguments)).unwrap();
        while !setup.has_ended().unwrap() {
            sender
                .send(&syn(CLIENT[0], source_ports.next().unwrap()))
                .unwrap();
            probes += 1;
        }
        assert!(setup.wait(SOON).unwrap().success(), "{:?}", setup.lines());
        let frames = capture.drain().unwrap();
        let mut answers = frames.iter().filter_map(|it| answer(&it.bytes));
        assert_eq!(answers.next(), None, "after {probes} probes");
    }
    // The open address still has access, and its answer is the first.
    sender.send(&syn(OTHER[0], 1)).unwrap();
    let frames = capture
        .until(|it| answer(&it.bytes).is_some(), SOON)
        .unwrap();
    let first = answer(&frames.last().unwrap().bytes).unwrap();
    assert_eq!(first.destination.ip(), OTHER[0], "after {probes} probes");
    assert!(first.header.syn && first.header.ack);
    assert!(probes > 10, "only {probes} probes");
}

pub(crate) fn new_ports_replace_the_old_ones(variant: Variant) {
    if !variant.is_testable() {
        return;
    }
    let pair = pair();
    let _first = Greeter::start(&pair.server, 22).unwrap();
    let _second = Greeter::start(&pair.server, 2222).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    firewall.run(&["setup", "22"]);
    firewall.run(&["open", &OTHER[1].to_string()]);
    assert!(can_connect(&pair, CLIENT[1], 2222));
    firewall.run(&["setup", "2222", "3333"]);
    assert!(can_connect(&pair, CLIENT[1], 22));
    assert!(!can_connect(&pair, CLIENT[1], 2222));
    assert!(
        can_connect(&pair, OTHER[1], 2222),
        "setup removed an open address"
    );
    assert!(firewall.run(&["status"]).contains("tcp port 2222, 3333\n"));
}

pub(crate) fn a_closed_port_never_answers(variant: Variant) {
    if !variant.is_testable() {
        return;
    }
    let pair = pair();
    let _service = Greeter::start(&pair.server, PORT).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    firewall.run(&["setup"]);
    let source = CLIENT[0];
    firewall.run(&["open", &source.to_string()]);
    let destination = SocketAddr::new(SERVER[0], PORT);
    let session = Session::open(&pair.client, Some(source), destination, SOON).unwrap();
    firewall.run(&["close", &source.to_string()]);

    let capture = Capture::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let send = |frame: Frame| sender.send(&frame.bytes().unwrap()).unwrap();
    let from = |port| Frame::syn(SocketAddr::new(source, port), destination);
    // Typical scan packets, and a SYN of a connection that conntrack knows, which the host would
    // answer with a challenge ACK (RFC 5961).
    send(from(1001));
    send(from(1002).tcp(|tcp| (tcp.syn, tcp.ack) = (false, true)));
    send(from(1003).tcp(|tcp| tcp.ack = true));
    send(from(1004).tcp(|tcp| (tcp.syn, tcp.fin) = (false, true)));
    send(from(1005).tcp(|tcp| (tcp.ece, tcp.cwr) = (true, true)));
    send(from(1002));
    send(from(session.local_addr().unwrap().port()));
    // An unprotected port without a listener answers.
    let open = SocketAddr::new(SERVER[0], PORT + 1);
    send(Frame::syn(SocketAddr::new(source, 2000), open));
    let answer = |it: &[u8]| Segment::read(it).filter(|it| it.source.ip() == SERVER[0]);
    let frames = capture
        .until(|it| answer(&it.bytes).is_some(), SOON)
        .unwrap();
    let first = answer(&frames.last().unwrap().bytes).unwrap();
    assert_eq!(first.source, open, "{first:?}");
}

pub(crate) fn the_session_that_runs_setup_continues(variant: Variant) {
    if !variant.is_testable() {
        return;
    }
    for (index, server) in SERVER.into_iter().enumerate() {
        let pair = pair();
        let _service = Greeter::start(&pair.server, PORT).unwrap();
        let firewall = Firewall {
            variant,
            namespace: &pair.server,
        };
        let source = CLIENT[index];
        let destination = SocketAddr::new(server, PORT);
        let mut session = Session::open(&pair.client, Some(source), destination, SOON).unwrap();
        let ssh = format!("SSH_CONNECTION={source} 40000 {server} {PORT}");
        let setup = || {
            let output = firewall.command(&[&ssh], &["setup"]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        setup();
        assert_eq!(session.ask("still there?").unwrap(), "still there?");
        assert!(!can_connect(&pair, OTHER[index], PORT));
        // conntrack knows the session from now on, so that `close` does not interrupt it.
        firewall.run(&["close", &source.to_string()]);
        setup();
        assert!(!can_connect(&pair, source, PORT));
        assert_eq!(session.ask("and now?").unwrap(), "and now?");
    }
}
