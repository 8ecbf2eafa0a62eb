//! The rate limit of a source, and a full ring buffer.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
};

use knock_common::{
    counters::Outcome,
    rate::Rate,
    settings::{DEFAULT_EVENT_RATE, Settings, Verdict},
    window::Window,
};
use knock_tests::{link::Pair, privilege};
use knockd_runtime::clock::monotonic;

use crate::{
    bench::{Action, Bench, RunResult, action, unlimited, unlimited_rate},
    table::{BASE, syn_to, syn_v4},
};

/// `DEFAULT_EVENT_RATE` as numbers.
const BURST: u64 = 128;
const PER_SECOND: f64 = 64.0;

/// A program with the default burst and one token per second, so that a bucket stays empty long
/// enough on a slow machine.
fn limited(verdict: Verdict) -> Bench {
    let rate = Rate::new(NonZeroU32::MIN, NonZeroU32::new(128).unwrap());
    let settings = Settings::new(Window::DEFAULT, verdict, rate);
    Bench::new(settings.with_new_sources_rate(unlimited_rate()))
}

fn syn_from(source: &str) -> Vec<u8> {
    let source: IpAddr = source.parse().unwrap();
    let destination = match source {
        IpAddr::V4(_) => IpAddr::from(Pair::SERVER_V4),
        IpAddr::V6(_) => Pair::SERVER_V6.into(),
    };
    syn_to(source, destination, BASE).bytes().unwrap()
}

/// Uses up the tokens of `frame`'s source, including those that are added meanwhile.
fn exhaust(bench: &mut Bench, frame: &[u8]) {
    bench.repeat(frame, 10 * u32::try_from(BURST).unwrap());
    while bench.take_event().is_some() {}
}

/// Runs a few packets and returns the first that was rate limited, if any. One token may be added
/// meanwhile, but not ten.
fn refusal(bench: &mut Bench, frame: &[u8]) -> Option<RunResult> {
    let mut results = (0..10).map(|_| bench.run(frame));
    results.find(|result| result.outcome == Outcome::RateLimited)
}

#[test]
fn a_source_is_limited_to_its_burst_and_its_rate() {
    if !privilege::bpf() {
        return;
    }
    const SYNS: u64 = 100_000;
    let settings = Settings::new(Window::DEFAULT, Verdict::Drop, DEFAULT_EVENT_RATE);
    let mut bench = Bench::new(settings);
    let start = monotonic();
    let result = bench.repeat(&syn_from("192.0.2.2"), u32::try_from(SYNS).unwrap());
    let elapsed = monotonic() - start;
    assert_eq!(action(&result), Action::Drop);

    let accepted = bench.count(Outcome::Knock);
    assert_eq!(accepted + bench.count(Outcome::RateLimited), SYNS);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few tokens"
    )]
    let refilled = (elapsed.as_secs_f64() * PER_SECOND).ceil() as u64;
    assert!((BURST..=BURST + refilled).contains(&accepted), "{accepted}");
    let events = std::iter::from_fn(|| bench.take_event()).count();
    assert_eq!(u64::try_from(events).unwrap(), accepted);
}

#[test]
fn a_rate_limited_syn_has_the_configured_verdict() {
    if !privilege::bpf() {
        return;
    }
    let frame = syn_from("192.0.2.2");
    for (verdict, action) in [(Verdict::Drop, Action::Drop), (Verdict::Pass, Action::Pass)] {
        let mut bench = limited(verdict);
        exhaust(&mut bench, &frame);
        let refused = refusal(&mut bench, &frame).unwrap();
        assert_eq!(refused.action, action);
        assert_eq!(refused.event, None);
    }
}

#[test]
fn other_packets_use_no_tokens() {
    if !privilege::bpf() {
        return;
    }
    let mut bench = limited(Verdict::Drop);
    let ack = syn_v4(0).tcp(|tcp| tcp.ack = true).bytes().unwrap();
    bench.repeat(&ack, 1000);
    let outside = syn_to(Pair::CLIENT_V4, Pair::SERVER_V4, 22).bytes();
    bench.repeat(&outside.unwrap(), 1000);
    bench.repeat(&syn_v4(0).bytes().unwrap(), u32::try_from(BURST).unwrap());
    assert_eq!(bench.count(Outcome::Knock), BURST);
}

#[test]
fn sources_share_a_bucket_per_ipv4_address_or_ipv6_64() {
    if !privilege::bpf() {
        return;
    }
    for (exhausted, others, shared) in [
        // One host can use a whole /64.
        (
            "2001:db8::2",
            &["2001:db8::3", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"][..],
            true,
        ),
        (
            "2001:db8::2",
            &["2001:db8:0:1::2", "2001:db9::2", "::2", "192.0.2.2"],
            false,
        ),
        // The IPv4-mapped addresses are all in one /64, but are separate hosts.
        (
            "192.0.2.2",
            &["192.0.2.3", "1.0.2.2", "0.0.0.0", "::2", "::"],
            false,
        ),
        ("::2", &["::1", "::", "::fffe:c000:202"], true),
        ("::2", &["192.0.2.2", "0.0.0.0"], false),
    ] {
        for other in others {
            let mut bench = limited(Verdict::Drop);
            exhaust(&mut bench, &syn_from(exhausted));
            let refused = refusal(&mut bench, &syn_from(other)).is_some();
            assert_eq!(refused, shared, "{other} after {exhausted}");
        }
    }
}

/// The map of buckets is an LRU map: no source is refused for lack of space, and filling the map
/// with spoofed addresses does not reset the bucket of an active source.
#[test]
fn more_sources_than_buckets_are_served_and_the_latest_is_limited() {
    if !privilege::bpf() {
        return;
    }
    const SOURCES: u32 = 70_000;
    let mut bench = limited(Verdict::Drop);
    for source in 0..SOURCES {
        let source = Ipv6Addr::from((0x2001_0db8_0000_0000 + u128::from(source)) << 64);
        let syn = syn_to(source, Pair::SERVER_V6, BASE).bytes().unwrap();
        bench.repeat(&syn, 1);
        bench.take_event().unwrap();
    }
    assert_eq!(bench.count(Outcome::Knock), u64::from(SOURCES));

    let latest = syn_from("192.0.2.2");
    exhaust(&mut bench, &latest);
    refusal(&mut bench, &latest).unwrap();
}

#[test]
fn a_full_ring_is_counted_and_recovers_when_it_is_read() {
    if !privilege::bpf() {
        return;
    }
    const SYNS: u64 = 60_000;
    let frame = syn_v4(0).bytes().unwrap();
    for (verdict, full) in [(Verdict::Drop, Action::Drop), (Verdict::Pass, Action::Pass)] {
        let mut bench = Bench::new(unlimited(verdict));
        bench.repeat(&frame, u32::try_from(SYNS).unwrap());
        let accepted = bench.count(Outcome::Knock);
        assert!(
            accepted >= 43_000,
            "the ring buffer holds only {accepted} events"
        );
        assert_eq!(accepted + bench.count(Outcome::RingFull), SYNS);
        // The ring buffer is full, so this SYN is refused and has no event.
        let refused = bench.repeat(&frame, 1);
        assert_eq!(action(&refused), full);
        assert_eq!(bench.count(Outcome::RingFull), SYNS - accepted + 1);

        let in_the_ring = usize::try_from(accepted).unwrap();
        let read = bench.read_until(|read| read.len() >= in_the_ring);
        assert_eq!(read.len(), in_the_ring);
        bench.repeat(&syn_v4(77).bytes().unwrap(), 1);
        let read = bench.read_until(|read| !read.is_empty());
        assert_eq!(read.iter().map(|it| it.offset).collect::<Vec<_>>(), [77]);
    }
}
