//! The program against the reference, on what nobody thought of.

use std::cell::RefCell;

use knock_common::{gate::Mode, settings::Verdict};
use knock_tests::{
    frame::{Extension, Frame, Protocol, Tag},
    privilege,
};
use proptest::{prelude::*, sample::Index};

use crate::{
    bench::{Bench, MIN_FRAME, unlimited},
    outcome::check,
    reference::{Expected, Policy, classify},
    table::{BASE, syn_v4, syn_v6},
};

/// A few seconds' worth.
const CASES: u32 = 4096;

/// Bytes, many of which pretend to be IP: those that do not are done with at once.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let ether_type = prop_oneof![
        Just([0x08, 0x00]),
        Just([0x86, 0xdd]),
        Just([0x81, 0x00]),
        Just([0x88, 0xa8]),
        any::<[u8; 2]>(),
    ];
    let protocol = prop_oneof![
        4 => Just(6_u8),
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

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        (
            prop::sample::select(vec![0, 43, 60, 135, 139, 140]),
            prop::collection::vec(any::<u8>(), 0..40),
        )
            .prop_map(|(number, content)| Extension::Plain(Protocol(number), content)),
        (0..8_usize).prop_map(|words| Extension::Authentication(vec![0; words * 4])),
    ]
}

fn tag() -> impl Strategy<Value = Tag> {
    prop_oneof![
        (0..4096_u16).prop_map(Tag::Customer),
        (0..4096_u16).prop_map(Tag::Provider),
    ]
}

prop_compose! {
    /// A frame as a host would send it, mostly a SYN and mostly to the window.
    fn sent()(
        v6: bool,
        tags in prop::collection::vec(tag(), 0..=3),
        options in 0..=10_usize,
        extensions in prop::collection::vec(extension(), 0..=10),
        source_port: u16,
        port in prop_oneof![4 => BASE..=BASE + 255, 1 => BASE - 2..=BASE + 258, 1 => any::<u16>()],
        tcp_options in 0..=10_usize,
        flags in prop_oneof![3 => Just([false; 4]), 1 => any::<[bool; 4]>()],
        harmless: [bool; 4],
        payload in prop::collection::vec(any::<u8>(), 0..40),
    ) -> Frame {
        let mut frame = if v6 { syn_v6(0) } else { syn_v4(0) };
        frame.tags = tags;
        frame.ipv4_options = vec![1; options * 4];
        frame.extensions = extensions;
        frame.payload(payload).tcp(|tcp| {
            tcp.source_port = source_port;
            tcp.destination_port = port;
            [tcp.ack, tcp.rst, tcp.fin, tcp.syn] = flags;
            tcp.syn = !tcp.syn;
            [tcp.ece, tcp.cwr, tcp.psh, tcp.urg] = harmless;
            tcp.set_options_raw(&vec![1; tcp_options * 4]).unwrap();
        })
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Truncate(Index),
    Append(Vec<u8>),
    Fragment,
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            4 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            1 => any::<Index>().prop_map(Self::Truncate),
            1 => prop::collection::vec(any::<u8>(), 1..60).prop_map(Self::Append),
            1 => Just(Self::Fragment),
        ]
    }

    fn apply(&self, sent: &Frame, frame: &mut Vec<u8>) {
        match self {
            // The hardware addresses and most of a payload mean nothing to the program.
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
            Self::Fragment => *frame = sent.fragments(16).unwrap().swap_remove(0),
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
    prop_oneof![1 => noise(), 3 => mutated]
}

#[test]
fn program_and_reference_agree_on_any_frame() {
    if !privilege::bpf() {
        return;
    }
    for verdict in [Verdict::Drop, Verdict::Pass] {
        let bench = RefCell::new(Bench::new(unlimited(verdict)));
        proptest!(ProptestConfig::with_cases(CASES), |(frame in frames())| {
            let expected = classify(&frame, &Policy::window(BASE));
            check("a random frame", &bench.borrow_mut().run(&frame), expected, verdict, Mode::Enforce);
        });
    }
}

/// Random input is worth as much as the places that it comes to.
#[test]
fn random_frames_end_in_many_ways() {
    use knock_common::counters::Outcome;
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};

    // Deterministic, since it counts.
    let mut runner = TestRunner::deterministic();
    let mut counts = [0_u32; Outcome::COUNT as usize];
    for _ in 0..CASES {
        let frame = frames().new_tree(&mut runner).unwrap().current();
        let outcome = match classify(&frame, &Policy::window(BASE)) {
            Expected::Knock { .. } => Outcome::Knock,
            Expected::Other(outcome) => outcome,
        };
        counts[outcome as usize] += 1;
    }
    for outcome in Outcome::ALL {
        // Nothing in a single frame leads to these.
        if !matches!(outcome, Outcome::RateLimited | Outcome::RingFull)
            && !outcome.name().starts_with("gate")
        {
            let count = counts[*outcome as usize];
            assert!(count > CASES / 100, "{outcome:?}: {counts:?}");
        }
    }
}
