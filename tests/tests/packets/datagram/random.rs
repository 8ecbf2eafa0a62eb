//! Compares the program with the reference on random datagrams.

use std::net::SocketAddr;

use knock_common::{counters::Outcome, gate::Mode, settings::Verdict};
use knock_tests::{frame::Frame, link::Pair, needs_bpf};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::{KEY, PORT, sealed, settings};
use crate::{
    bench::Bench,
    gate::{HOUR, keys},
    random::{CASES, Mutation, agree, extension, rules_and_policy, source, tag},
    reference::{Policy, classify},
};

/// The ports that the gate protects: none, another protocol's, another, and that of knocks.
const PROTECTED: [&[&str]; 4] = [&[], &["tcp/443"], &["udp/51820"], &["udp/443", "tcp/22"]];

/// Payloads: knocks, some with a wrong `mac1`, and others. Those of equal length never repeat.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let random = prop::collection::vec(any::<u8>(), 144).prop_map(|bytes| {
        let bytes: [u8; 144] = bytes.try_into().unwrap();
        bytes
    });
    prop_oneof![
        6 => random.clone().prop_map(|bytes| sealed(bytes).to_vec()),
        1 => random.prop_map(Vec::from),
        1 => prop::collection::vec(any::<u8>(), 130..160),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

prop_compose! {
    fn sent()(
        source in source(),
        port in prop_oneof![8 => Just(PORT), 1 => Just(51_820), 1 => any::<u16>()],
        source_port: u16,
        tags in prop::collection::vec(tag(), 0..=3),
        options in 0..=10_usize,
        extensions in prop::collection::vec(extension(), 0..=9),
        payload in payload(),
    ) -> Frame {
        let destination = if source.is_ipv4() {
            Pair::SERVER_V4.into()
        } else {
            Pair::SERVER_V6.into()
        };
        let mut frame = Frame::datagram(
            SocketAddr::new(source, source_port),
            SocketAddr::new(destination, port),
        );
        frame.tags = tags;
        frame.ipv4_options = vec![1; options * 4];
        frame.extensions = extensions;
        frame.payload(payload)
    }
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let mutations = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(Mutation::any(), 1..3),
    ];
    (sent(), mutations).prop_map(|(sent, mutations)| {
        let mut frame = sent.bytes().unwrap();
        for mutation in mutations {
            mutation.apply(&sent, &mut frame);
        }
        frame
    })
}

fn policy(protect: &[&str]) -> Policy {
    let (_, policy) = rules_and_policy(protect);
    Policy {
        datagram: Some((PORT, KEY)),
        ..policy
    }
}

#[test]
fn program_and_reference_agree_on_any_datagram() {
    needs_bpf!();
    for protect in PROTECTED {
        let policy = policy(protect);
        let verdict = Verdict::Pass;
        let bench = if protect.is_empty() {
            Bench::new(settings(verdict))
        } else {
            let (rules, _) = rules_and_policy(protect);
            let mut bench = Bench::with_gate(settings(verdict), &rules);
            for (network, port) in &policy.leases {
                bench.gate().open(&keys(*network, *port), HOUR).unwrap();
            }
            bench
        };
        agree(bench, &policy, verdict, Mode::Enforce, frames());
    }
}

/// Checks that the generator reaches knocks and what is next to them often enough.
#[test]
fn random_datagrams_have_many_outcomes() {
    // Deterministic, because the test counts.
    let mut runner = TestRunner::deterministic();
    for protect in PROTECTED {
        let policy = policy(protect);
        let mut counts = [0_u32; Outcome::COUNT as usize];
        for _ in 0..CASES {
            let frame = frames().new_tree(&mut runner).unwrap().current();
            counts[classify(&frame, &policy).outcome() as usize] += 1;
        }
        let next = if protect.contains(&"udp/443") {
            Outcome::GateRefused
        } else {
            Outcome::DatagramOther
        };
        for outcome in [Outcome::Datagram, next, Outcome::NotTcp] {
            let count = counts[outcome as usize];
            assert!(count > CASES / 50, "{protect:?}: {outcome:?}: {counts:?}");
        }
    }
}
