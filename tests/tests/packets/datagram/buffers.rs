//! Frames in several buffers: a knock has to be in the first.

use knock_common::{
    counters::Outcome::{Malformed, NotTcp},
    settings::Verdict,
};
use knock_tests::{
    frame::{Extension, Frame, Protocol},
    link::Pair,
    needs_bpf,
};

use super::{datagram, event, payload, settings};
use crate::{
    bench::{Bench, Variant},
    outcome::check,
    reference::Expected,
};

/// The bytes before the UDP header, without extension headers.
const BEFORE: usize = 14 + 40;

/// A knock whose UDP header is `at` bytes behind the start of the frame.
fn knock_at(at: usize, number: u64) -> Frame {
    let mut rest = at - BEFORE;
    let mut frame = datagram(Pair::CLIENT_V6.into(), &payload(number));
    while rest > 0 {
        let len = rest.min(2048);
        let extension = Extension::Plain(Protocol::IPV6_DESTINATION_OPTIONS, vec![0; len - 2]);
        frame = frame.extension(extension);
        rest -= len;
    }
    frame
}

/// The first buffer of `BPF_PROG_TEST_RUN` ends somewhere in the second half of a page. Behind its end
/// nothing is a knock, and nothing is dropped.
#[test]
fn a_knock_that_is_not_in_the_first_buffer_passes() {
    needs_bpf!();
    let mut bench = Bench::new(settings(Verdict::Drop));
    let mut outcomes = Vec::new();
    let places = (BEFORE + 2048..BEFORE + 4096).step_by(8);
    for (at, number) in places.zip(0..) {
        let frame = knock_at(at, number).bytes().unwrap();
        let result = bench.run(&frame);
        let expected = if result.event.is_some() {
            event(Pair::CLIENT_V6.into(), payload(number))
        } else {
            Expected::Other(result.outcome)
        };
        check("a knock", &result, expected, Verdict::Drop);
        outcomes.push(result.outcome);
    }
    outcomes.dedup();
    let all = [knock_common::counters::Outcome::Datagram, NotTcp, Malformed];
    assert_eq!(outcomes, all);
}

/// The tc program makes a knock behind the longest headers readable that it follows.
#[test]
fn a_knock_behind_long_headers_is_found_by_tc() {
    needs_bpf!();
    let mut bench = Bench::new(settings(Verdict::Drop)).with_variant(Variant::Tc);
    let frame = knock_at(BEFORE + 1024, 1);
    let expected = event(frame.source, payload(1));
    let result = bench.run(&frame.bytes().unwrap());
    check("a knock", &result, expected, Verdict::Drop);
}
