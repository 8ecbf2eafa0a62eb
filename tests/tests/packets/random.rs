//! Compares the program with the reference on random frames.

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use knock_common::{
    counters::Outcome,
    gate::{Mode, Transport},
    settings::Verdict,
};
use knock_tests::{
    frame::{Extension, Frame, Protocol, Tag},
    needs_bpf,
};
use knockd_types::rules::{Port, Rules};
use proptest::{prelude::*, sample::Index, strategy::ValueTree as _, test_runner::TestRunner};

use crate::{
    bench::{Bench, MIN_FRAME, unlimited},
    gate::{HOUR, keys, request, rules, trusting},
    outcome::check_gated,
    reference::{Policy, classify},
    table::BASE,
};

/// Takes a few seconds.
pub(crate) const CASES: u32 = 4096;

/// Random bytes, most of them with a valid IP type and version, because others are rejected early.
fn random_bytes() -> impl Strategy<Value = Vec<u8>> {
    let ether_type = prop_oneof![
        Just([0x08, 0x00]),
        Just([0x86, 0xdd]),
        Just([0x81, 0x00]),
        Just([0x88, 0xa8]),
        any::<[u8; 2]>(),
    ];
    let protocol = prop_oneof![
        4 => Just(6_u8),
        1 => Just(17_u8),
        2 => prop::sample::select(vec![0, 43, 44, 51, 60, 135, 139, 140]),
        1 => any::<u8>(),
    ];
    let bytes = prop::collection::vec(any::<u8>(), MIN_FRAME..=200);
    (bytes, ether_type, protocol, 0..3_usize).prop_map(|(mut bytes, ether_type, protocol, tags)| {
        let mut put = |at: usize, value: &[u8]| {
            if let Some(place) = bytes.get_mut(at..at + value.len()) {
                place.copy_from_slice(value);
            }
        };
        for tag in 0..tags {
            put(12 + tag * 4, &[0x81, 0x00]);
        }
        let ip = 14 + tags * 4;
        put(ip - 2, &ether_type);
        if ether_type == [0x86, 0xdd] {
            put(ip, &[0x60]);
            put(ip + 6, &[protocol]);
        } else {
            put(ip, &[0x45]);
            put(ip + 6, &[0, 0]);
            put(ip + 9, &[protocol]);
        }
        bytes
    })
}

pub(crate) fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        (
            prop::sample::select(vec![0, 43, 60, 135, 139, 140]),
            prop::collection::vec(any::<u8>(), 0..40),
        )
            .prop_map(|(number, content)| Extension::Plain(Protocol(number), content)),
        (0..8_usize).prop_map(|words| Extension::Authentication(vec![0; words * 4])),
    ]
}

pub(crate) fn tag() -> impl Strategy<Value = Tag> {
    prop_oneof![
        (0..4096_u16).prop_map(Tag::Customer),
        (0..4096_u16).prop_map(Tag::Provider),
    ]
}

/// Networks with a lease for every protected port.
const LEASED: [&str; 4] = [
    "192.0.2.2/32",
    "2001:db8::2/128",
    "2001:db8:1::/64",
    "2001:db8:2::/56",
];
const TRUSTED: [&str; 2] = ["198.51.100.0/24", "2001:db8:3::/48"];

/// Admitted sources, their neighbours that are not, and random ones.
pub(crate) fn source() -> impl Strategy<Value = IpAddr> {
    let v4 = |text: &str| IpAddr::from(text.parse::<Ipv4Addr>().unwrap());
    let v6 = |text: &str| IpAddr::from(text.parse::<Ipv6Addr>().unwrap());
    prop_oneof![
        6 => prop::sample::select(vec![
            v4("192.0.2.2"),
            v4("198.51.100.7"),
            v4("198.51.100.255"),
            v6("2001:db8::2"),
            v6("2001:db8:1::7"),
            v6("2001:db8:2:7::"),
            v6("2001:db8:3::"),
            v6("2001:db8:3:7::"),
        ]),
        2 => prop::sample::select(vec![
            v4("192.0.2.3"),
            v4("198.51.101.7"),
            v6("2001:db8::3"),
            v6("2001:db8:1:1::7"),
            v6("2001:db8:2:100::"),
            v6("2001:db8:4::"),
            v6("::ffff:192.0.2.2"),
        ]),
        1 => any::<[u8; 4]>().prop_map(IpAddr::from),
        1 => any::<[u8; 16]>().prop_map(IpAddr::from),
    ]
}

/// Ports of the window, protected ports, their neighbours, and random ones.
fn port() -> impl Strategy<Value = Port> {
    let tcp = |number| Port {
        transport: Transport::Tcp,
        number,
    };
    let udp = |number| Port {
        transport: Transport::Udp,
        number,
    };
    prop_oneof![
        6 => (BASE..=BASE + 255).prop_map(tcp),
        6 => prop::sample::select(vec![tcp(22), udp(51820)]),
        2 => prop::sample::select(vec![tcp(21), tcp(23), tcp(51820), udp(22), udp(51819), udp(51821)]),
        1 => (BASE - 2..=BASE + 258).prop_map(tcp),
        1 => any::<u16>().prop_map(tcp),
        1 => any::<u16>().prop_map(udp),
    ]
}

prop_compose! {
    /// A well-formed frame, usually a SYN to the window or to a protected port.
    fn sent()(
        source in source(),
        port in port(),
        tags in prop_oneof![
            9 => prop::collection::vec(tag(), 0..=2),
            1 => prop::collection::vec(tag(), 3),
        ],
        options in 0..=10_usize,
        extensions in prop_oneof![
            9 => prop::collection::vec(extension(), 0..=8),
            1 => prop::collection::vec(extension(), 9..=10),
        ],
        source_port: u16,
        tcp_options in 0..=10_usize,
        flags in prop_oneof![3 => Just([false; 4]), 1 => any::<[bool; 4]>()],
        harmless: [bool; 4],
        payload in prop::collection::vec(any::<u8>(), 0..40),
    ) -> Frame {
        let mut frame = request(source, port);
        frame.tags = tags;
        frame.ipv4_options = vec![1; options * 4];
        frame.extensions = extensions;
        frame.payload(payload).tcp(|tcp| {
            tcp.source_port = source_port;
            [tcp.ack, tcp.rst, tcp.fin, tcp.syn] = flags;
            tcp.syn = !tcp.syn;
            [tcp.ece, tcp.cwr, tcp.psh, tcp.urg] = harmless;
            tcp.set_options_raw(&vec![1; tcp_options * 4]).unwrap();
        })
    }
}

/// A change of a frame.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Truncate(Index),
    Append(Vec<u8>),
    Fragment(Index),
}

impl Mutation {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            4 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            1 => any::<Index>().prop_map(Self::Truncate),
            1 => prop::collection::vec(any::<u8>(), 1..60).prop_map(Self::Append),
            1 => any::<Index>().prop_map(Self::Fragment),
        ]
    }

    pub(crate) fn apply(&self, sent: &Frame, frame: &mut Vec<u8>) {
        match self {
            // MAC addresses and most of a payload have no effect on the program.
            Self::Set(at, byte) => {
                let headers = &mut frame[MIN_FRAME - 2..];
                let at = at.index(headers.len().min(100));
                headers[at] = *byte;
            }
            Self::Flip(at, bit) => {
                let at = at.index(frame.len());
                frame[at] ^= 1 << bit;
            }
            Self::Truncate(len) => frame.truncate(len.index(frame.len()).max(MIN_FRAME)),
            Self::Append(bytes) => frame.extend_from_slice(bytes),
            Self::Fragment(which) => {
                let mut fragments = sent.fragments(16).unwrap();
                *frame = fragments.swap_remove(which.index(fragments.len()));
            }
        }
    }
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let mutations = prop::collection::vec(Mutation::any(), 0..4);
    let mutated = (sent(), mutations).prop_map(|(sent, mutations)| {
        let mut frame = sent.bytes().unwrap();
        for mutation in mutations {
            mutation.apply(&sent, &mut frame);
        }
        frame
    });
    prop_oneof![1 => random_bytes(), 5 => mutated]
}

/// No gate, and one for each choice of protected ports.
const PROTECTED: [&[&str]; 4] = [&[], &["tcp/22"], &["udp/51820"], &["tcp/22", "udp/51820"]];

/// The rules for the program, and the same policy for the reference.
pub(crate) fn rules_and_policy(protect: &[&str]) -> (Rules, Policy) {
    let rules = trusting(rules(protect), &TRUSTED);
    let leases = rules.protect.iter().flat_map(|port| {
        let networks = LEASED.iter().map(|network| network.parse().unwrap());
        networks.map(|network| (network, *port))
    });
    let policy = Policy {
        base: BASE,
        protected: rules.protect.clone(),
        leases: leases.collect(),
        trusted: rules.trusted.clone(),
        datagram: None,
    };
    (rules, policy)
}

pub(crate) fn agree(
    bench: Bench,
    policy: &Policy,
    verdict: Verdict,
    mode: Mode,
    frames: impl Strategy<Value = Vec<u8>>,
) {
    let bench = RefCell::new(bench);
    proptest!(ProptestConfig::with_cases(CASES), |(frame in frames)| {
        let expected = classify(&frame, policy);
        check_gated("a random frame", &bench.borrow_mut().run(&frame), expected, verdict, mode);
    });
}

#[test]
fn program_and_reference_agree_on_any_frame() {
    needs_bpf!();
    for verdict in [Verdict::Drop, Verdict::Pass] {
        let bench = Bench::new(unlimited(verdict));
        agree(
            bench,
            &Policy::window(BASE),
            verdict,
            Mode::Enforce,
            frames(),
        );
    }
}

#[test]
fn program_and_reference_agree_on_any_frame_with_a_gate() {
    needs_bpf!();
    for protect in &PROTECTED[1..] {
        let (rules, policy) = rules_and_policy(protect);
        for (mode, verdict) in [
            (Mode::Enforce, Verdict::Drop),
            (Mode::Observe, Verdict::Pass),
        ] {
            let rules = Rules {
                mode,
                ..rules.clone()
            };
            let mut bench = Bench::with_gate(unlimited(verdict), &rules);
            for (network, port) in &policy.leases {
                bench.gate().open(&keys(*network, *port), HOUR).unwrap();
            }
            agree(bench, &policy, verdict, mode, frames());
        }
    }
}

/// Checks that the generator reaches most outcomes often enough.
#[test]
fn random_frames_have_many_outcomes() {
    // Deterministic, because the test counts.
    let mut runner = TestRunner::deterministic();
    for protect in PROTECTED {
        let (_, policy) = rules_and_policy(protect);
        let mut counts = [0_u32; Outcome::COUNT as usize];
        for _ in 0..CASES {
            let frame = frames().new_tree(&mut runner).unwrap().current();
            counts[classify(&frame, &policy).outcome() as usize] += 1;
        }
        for outcome in Outcome::ALL {
            let count = counts[*outcome as usize];
            if reachable(*outcome, protect) {
                assert!(count > CASES / 100, "{protect:?}: {outcome:?}: {counts:?}");
            }
        }
    }
}

/// Whether random frames often have this outcome with a gate for these ports.
fn reachable(outcome: Outcome, protect: &[&str]) -> bool {
    match outcome {
        // They need many packets, or a host that forwards.
        Outcome::RateLimited | Outcome::Held | Outcome::RingFull | Outcome::Forwarded => false,
        // There are none on the loopback interface.
        Outcome::Martian => false,
        // Here are no knock datagrams.
        Outcome::Datagram
        | Outcome::DatagramCopy
        | Outcome::DatagramLimited
        | Outcome::DatagramRingFull
        | Outcome::DatagramOther => false,
        Outcome::GateLeased
        | Outcome::GateTrusted
        | Outcome::GateRefused
        | Outcome::GateUnclear => !protect.is_empty(),
        // With a gate nearly all of these are unclear.
        Outcome::TooDeep | Outcome::Malformed | Outcome::Fragment => protect.is_empty(),
        _ => true,
    }
}
