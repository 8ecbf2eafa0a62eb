//! The daemon's end of the ring: nobody is woken for each SYN of a flood, and none is left lying.

use std::time::{Duration, Instant};

use knock_common::settings::Verdict;
use knock_tests::needs_bpf;
use knockd_listener::source::ring::MAX_BATCH;

use crate::{
    bench::{Bench, unlimited},
    table::syn_v4,
};

/// More than it takes until the reader looks after the ring by itself.
const FLOOD: usize = 400;

#[test]
fn no_event_is_left_lying_when_a_flood_ends() {
    needs_bpf!();
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    let frame = syn_v4(7).bytes().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        // Ends at another moment of the reader's pause each time, and with SYNs so far apart
        // that the reader goes to sleep between them, or does not.
        let mut gaps = vec![Duration::ZERO; random.usize(1..FLOOD)];
        for gap in gaps.iter_mut().rev().take(3) {
            *gap = Duration::from_micros(random.u64(0..1500));
        }
        let batches = bench.read_while(&frame, &gaps);
        assert_eq!(batches.iter().sum::<usize>(), gaps.len());
    }
}

#[test]
fn a_flood_wakes_the_reader_no_more_than_a_thousand_times_a_second() {
    needs_bpf!();
    let mut bench = Bench::new(unlimited(Verdict::Drop));
    let frame = syn_v4(7).bytes().unwrap();
    let gaps = vec![Duration::from_micros(20); 20_000];
    let start = Instant::now();
    let batches = bench.read_while(&frame, &gaps);
    let elapsed = start.elapsed();
    assert_eq!(batches.iter().sum::<usize>(), gaps.len());
    // It looks by itself no more often either.
    let allowed = 128 + 2 * usize::try_from(elapsed.as_millis()).unwrap() + gaps.len() / MAX_BATCH;
    assert!(batches.len() <= allowed, "{} in {elapsed:?}", batches.len());
}
