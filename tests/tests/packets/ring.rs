//! The daemon's reader of the ring buffer: a flood does not wake it for each SYN, and no event
//! remains unread.

use std::time::{Duration, Instant};

use knock_common::settings::Verdict;
use knock_tests::needs_bpf;
use knockd_listener::source::ring::MAX_BATCH;

use crate::{
    bench::{Bench, unlimited},
    table::syn_v4,
};

/// More events than the reader needs to switch to polling.
const FLOOD: usize = 400;

#[test]
fn no_event_remains_unread_after_a_flood() {
    needs_bpf!();
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    let frame = syn_v4(7).bytes().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        // The flood ends at a different time of the reader's pause in each round. The last gaps are
        // random, so that the reader sleeps between these SYNs in some rounds.
        let mut gaps = vec![Duration::ZERO; random.usize(1..FLOOD)];
        for gap in gaps.iter_mut().rev().take(3) {
            *gap = Duration::from_micros(random.u64(0..1500));
        }
        let batches = bench.read_while(&frame, &gaps);
        assert_eq!(batches.iter().sum::<usize>(), gaps.len());
    }
}

#[test]
fn a_flood_wakes_the_reader_at_most_a_thousand_times_a_second() {
    needs_bpf!();
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    let frame = syn_v4(7).bytes().unwrap();
    let gaps = vec![Duration::from_micros(20); 20_000];
    let start = Instant::now();
    let batches = bench.read_while(&frame, &gaps);
    let elapsed = start.elapsed();
    assert_eq!(batches.iter().sum::<usize>(), gaps.len());
    // The same limit applies to polling.
    let allowed = 128 + 2 * usize::try_from(elapsed.as_millis()).unwrap() + gaps.len() / MAX_BATCH;
    assert!(batches.len() <= allowed, "{} in {elapsed:?}", batches.len());
}
