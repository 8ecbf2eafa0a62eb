//! The gate in front of Linux's network stack: unusual packets that Linux accepts are dropped.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use knock_common::{
    counters::Outcome::{GateRefused, GateUnclear},
    gate::Mode,
    settings::Verdict,
};
use knock_tests::{
    frame::{Extension, Frame, Segment, Tag},
    link::Pair,
    needs_bpf, privilege,
    service::Greeter,
    wire::{Capture, Sender},
};
use knockd_types::{interface::Wanted, rules::Rules};

use super::{HOUR, keys, rules};
use crate::bench::{Bench, unlimited};

/// Time limit for anything that should happen immediately; only a failing test waits this long.
const SOON: Duration = Duration::from_secs(10);

const TCP: u16 = 22;
const UDP: u16 = 51820;
/// No socket listens on this port, so the kernel answers with a RST.
const CLOSED: u16 = 23;

/// The addresses of client and server, per family.
const ENDS: [[IpAddr; 2]; 2] = [
    [IpAddr::V4(Pair::CLIENT_V4), IpAddr::V4(Pair::SERVER_V4)],
    [IpAddr::V6(Pair::CLIENT_V6), IpAddr::V6(Pair::SERVER_V6)],
];

/// A name, and a function that returns the frames that carry a request.
type Encoding = (&'static str, fn(&Frame) -> Vec<Vec<u8>>);

fn whole(frame: &Frame) -> Vec<Vec<u8>> {
    vec![frame.bytes().unwrap()]
}

fn tagged(frame: &Frame, tags: &[Tag]) -> Vec<Vec<u8>> {
    whole(&tags.iter().fold(frame.clone(), |it, tag| it.tag(*tag)))
}

fn chain(frame: &Frame, len: usize) -> Frame {
    let headers = vec![Extension::destination_options(); len];
    headers.into_iter().fold(frame.clone(), Frame::extension)
}

/// Encodings for both families. Hosts remove priority tags (identifier 0).
const ENCODINGS: [Encoding; 5] = [
    ("plain", whole),
    ("in pieces", |frame| frame.fragments(24).unwrap()),
    ("behind a tag", |frame| tagged(frame, &[Tag::Customer(0)])),
    ("behind two tags", |frame| {
        tagged(frame, &[Tag::Provider(0), Tag::Customer(0)])
    }),
    ("behind three tags", |frame| {
        tagged(frame, &[Tag::Customer(0); 3])
    }),
];

/// Linux drops an IPv6 first fragment without the complete transport header.
const IPV4_ENCODINGS: [Encoding; 3] = [
    ("in tiny pieces", |frame| frame.fragments(8).unwrap()),
    ("with options", |frame| {
        whole(&frame.clone().ipv4_options([1; 40]))
    }),
    ("with options in pieces", |frame| {
        frame.clone().ipv4_options([1; 40]).fragments(8).unwrap()
    }),
];

const IPV6_ENCODINGS: [Encoding; 5] = [
    ("behind eight headers", |frame| whole(&chain(frame, 8))),
    ("behind nine headers", |frame| whole(&chain(frame, 9))),
    ("behind a header in pieces", |frame| {
        chain(frame, 1).fragments(24).unwrap()
    }),
    ("in one piece", |frame| frame.fragments(64).unwrap()),
    ("behind a header in one piece", |frame| {
        let piece = frame.clone().extension(Extension::fragment(0, false));
        whole(&chain(&piece, 1))
    }),
];

/// A request and the frames that carry it.
struct Sent {
    what: String,
    source: SocketAddr,
    frames: Vec<Vec<u8>>,
}

/// Every encoding of the packet that `make` returns for `port`, each from its own source port.
fn all_encodings(make: fn(SocketAddr, SocketAddr) -> Frame, port: u16) -> Vec<Sent> {
    let families = ENDS.into_iter().zip([&IPV4_ENCODINGS[..], &IPV6_ENCODINGS]);
    let encodings = families.flat_map(|(ends, own)| {
        ENCODINGS
            .iter()
            .chain(own)
            .map(move |encoding| (ends, encoding))
    });
    encodings
        .zip(40000..)
        .map(|(([client, server], (name, encoding)), source_port)| {
            let source = SocketAddr::new(client, source_port);
            let what = format!("{name} from {client}");
            let request = make(source, SocketAddr::new(server, port));
            Sent {
                // The payload identifies the datagram.
                frames: encoding(&request.payload(what.clone())),
                what,
                source,
            }
        })
        .collect()
}

/// Attaches a program with a gate to the server's interface until it is dropped.
fn attached(pair: &Pair, mode: Mode) -> Bench {
    let rules = Rules {
        mode,
        ..rules(&["tcp/22", "udp/51820"])
    };
    let mut bench = Bench::with_gate(unlimited(Verdict::Drop), &rules);
    let interfaces = Wanted::by_name([Pair::SERVER_INTERFACE]);
    let attach = || bench.xdp.attach(&interfaces, None).map(drop);
    pair.server.run(attach).unwrap();
    bench
}

#[test]
fn no_segment_that_the_stack_would_accept_opens_a_connection() {
    needs_bpf!();
    if !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let _service = Greeter::start(&pair.server, TCP).unwrap();
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let answers = |frame: &[u8], from: u16, to: u16| {
        Segment::read(frame)
            .is_some_and(|it| (it.source.port(), it.destination.port()) == (from, to))
    };

    let observing = attached(&pair, Mode::Observe);
    for Sent {
        what,
        source,
        frames,
    } in all_encodings(Frame::syn, TCP)
    {
        let capture = Capture::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
        for frame in frames {
            sender.send(&frame).unwrap();
        }
        let answered = capture.until(|it| answers(&it.bytes, TCP, source.port()), SOON);
        assert!(answered.is_ok(), "{what}: {answered:?}");
    }
    drop(observing);

    let enforcing = attached(&pair, Mode::Enforce);
    let capture = Capture::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let mut sent = 0;
    for frame in all_encodings(Frame::syn, TCP)
        .into_iter()
        .flat_map(|it| it.frames)
    {
        sender.send(&frame).unwrap();
        sent += 1;
    }
    let [client, server] = ENDS[0];
    let last = Frame::syn(
        SocketAddr::new(client, 39999),
        SocketAddr::new(server, CLOSED),
    );
    sender.send(&last.bytes().unwrap()).unwrap();
    let seen = capture
        .until(|it| answers(&it.bytes, CLOSED, 39999), SOON)
        .unwrap();
    let answer = seen
        .iter()
        .find_map(|it| Segment::read(&it.bytes).filter(|it| it.source.port() == TCP));
    assert_eq!(answer, None);
    let dropped = enforcing.count(GateRefused) + enforcing.count(GateUnclear);
    assert_eq!(dropped, sent);
}

#[test]
fn no_datagram_that_the_stack_would_accept_reaches_a_socket() {
    needs_bpf!();
    if !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let sockets = ENDS.map(|[_, server]| {
        let bind = || Ok(UdpSocket::bind(SocketAddr::new(server, UDP))?);
        let socket = pair.server.run(bind).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    });
    let next = |family: IpAddr| {
        let mut payload = [0; 100];
        let socket = &sockets[usize::from(family.is_ipv6())];
        let (len, _) = socket.recv_from(&mut payload).unwrap();
        String::from_utf8(payload[..len].to_vec()).unwrap()
    };

    let observing = attached(&pair, Mode::Observe);
    for Sent {
        what,
        source,
        frames,
    } in all_encodings(Frame::datagram, UDP)
    {
        for frame in frames {
            sender.send(&frame).unwrap();
        }
        assert_eq!(next(source.ip()), what);
    }
    drop(observing);

    let mut enforcing = attached(&pair, Mode::Enforce);
    for frame in all_encodings(Frame::datagram, UDP)
        .into_iter()
        .flat_map(|it| it.frames)
    {
        sender.send(&frame).unwrap();
    }
    for [client, server] in ENDS {
        let lease = keys(client.into(), "udp/51820".parse().unwrap());
        enforcing.gate().open(&lease, HOUR).unwrap();
        let last = Frame::datagram(SocketAddr::new(client, 39999), SocketAddr::new(server, UDP));
        sender
            .send(&last.payload("leased").bytes().unwrap())
            .unwrap();
        assert_eq!(next(client), "leased");
    }
}
