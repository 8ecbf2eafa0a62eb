//! The event of a SYN, byte by byte.

use std::{ops::Range, time::Duration};

use aya::programs::TestRunOptions;
use knock_common::settings::Verdict;
use knock_tests::{link::Pair, privilege};
use knockd_runtime::clock::monotonic;
use knockd_types::syn::Syn;

use crate::{
    bench::{Bench, unlimited},
    table::{syn_v4, syn_v6},
};

// The layout, repeated here so that a change of the struct fails this test.
const ARRIVAL: Range<usize> = 0..8;
const SOURCE: Range<usize> = 8..24;
const IFINDEX: Range<usize> = 24..28;
const SOURCE_PORT: Range<usize> = 28..30;
const OFFSET: usize = 30;
const RESERVED: usize = 31;
const LEN: usize = 32;

/// The loopback interface, the default of `BPF_PROG_TEST_RUN`.
const LOOPBACK: u32 = 1;

#[test]
fn every_field_of_an_event_is_at_its_offset() {
    if !privilege::bpf() {
        return;
    }
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    let v4 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 2];
    let v6 = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let mut last = Duration::ZERO;
    for (syn, source, port, offset) in [
        (syn_v4(0), v4, 0x0102, 0),
        (syn_v6(255), v6, 0xfffe, 255),
        (syn_v4(18), v4, 1, 18),
    ] {
        let frame = syn.tcp(|tcp| tcp.source_port = port).bytes().unwrap();
        let before = monotonic();
        let event = bench.run(&frame).event.unwrap();
        let after = monotonic();

        assert_eq!(event.len(), LEN);
        let arrival = u64::from_ne_bytes(event[ARRIVAL].try_into().unwrap());
        let arrival = Duration::from_nanos(arrival);
        assert!(before <= arrival && arrival <= after);
        assert!(last < arrival);
        last = arrival;
        assert_eq!(event[SOURCE], source);
        assert_eq!(event[IFINDEX], LOOPBACK.to_ne_bytes());
        assert_eq!(event[SOURCE_PORT], port.to_ne_bytes());
        assert_eq!(event[OFFSET], offset);
        assert_eq!(event[RESERVED], 0);
    }
}

#[test]
fn an_event_has_the_ingress_interface() {
    if !privilege::bpf() || !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let listed = pair.server.ip("-o link show dev srv0").unwrap();
    let ifindex: u32 = listed.split(':').next().unwrap().parse().unwrap();
    assert_ne!(ifindex, LOOPBACK);

    let frame = syn_v4(1).bytes().unwrap();
    let len = u32::try_from(frame.len()).unwrap();
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    // The kernel looks up the interface in the caller's network namespace.
    let context = [0, len, 0, ifindex, 0, 0].map(u32::to_ne_bytes).concat();
    let event = pair
        .server
        .run(|| {
            let mut bench = Bench::new(unlimited(Verdict::Drop));
            bench.test_run(TestRunOptions {
                data_in: Some(&frame),
                ctx_in: Some(&context),
                ..TestRunOptions::default()
            });
            Ok(bench.take_event().unwrap())
        })
        .unwrap();
    assert_eq!(event[IFINDEX], ifindex.to_ne_bytes());
}

#[test]
fn the_daemon_decodes_the_events_of_the_kernel() {
    if !privilege::bpf() {
        return;
    }
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    let before = monotonic();
    for syn in [syn_v4(0), syn_v6(255)] {
        bench.repeat(&syn.bytes().unwrap(), 1);
    }
    let syns = bench.read_until(|syns| syns.len() >= 2);
    let after = monotonic();
    let expected = [(Pair::CLIENT_V4.into(), 0), (Pair::CLIENT_V6.into(), 255)];
    assert_eq!(syns.len(), expected.len());
    for (received, (source, offset)) in syns.iter().zip(expected) {
        assert!(before <= received.at && received.at <= after);
        let expected = Syn {
            source,
            source_port: Some(40000),
            offset,
            at: received.at,
        };
        assert_eq!(*received, expected);
    }
}
