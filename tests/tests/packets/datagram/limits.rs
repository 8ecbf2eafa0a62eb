//! Copies, budgets, and a full ring buffer.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    time::Duration,
};

use aya::maps::{HashMap, Map};
use knock_common::{
    counters::Outcome::{self, DatagramCopy, DatagramLimited, DatagramRingFull, RateLimited},
    rate::Rate,
    settings::{DEFAULT_DATAGRAM_RATE, Settings, Verdict},
    window::Window,
};
use knock_tests::{link::Pair, needs_bpf};
use knockd_runtime::clock::monotonic;
use knockd_types::datagram::Datagram;

use super::{SOURCE_PORT, datagram, knock, payload, settings, with_rate};
use crate::{
    bench::{Action, Bench, unlimited, unlimited_rate},
    table::syn_v4,
};

/// How long copies are dropped.
const COPIES: Duration = Duration::from_secs(5);

/// A rate with a burst of `burst`, and one token per second, so that a bucket stays empty long enough on
/// a slow machine.
fn slow(burst: u32) -> Rate {
    Rate::new(NonZeroU32::MIN, NonZeroU32::new(burst).unwrap())
}

fn outcomes(bench: &mut Bench, frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<Outcome> {
    frames
        .into_iter()
        .map(|frame| {
            let result = bench.run(&frame);
            assert_eq!(result.action, Action::Drop, "{:?}", result.outcome);
            result.outcome
        })
        .collect()
}

fn from(source: &str, number: u64) -> Vec<u8> {
    let source: IpAddr = source.parse().unwrap();
    datagram(source, &payload(number)).bytes().unwrap()
}

#[test]
fn a_copy_is_dropped_and_costs_no_token() {
    needs_bpf!();
    let mut bench = Bench::new(with_rate(unlimited(Verdict::Pass), slow(2)));
    let frames = [knock(1), knock(1), knock(1), knock(1), knock(2), knock(2)];
    let seen = outcomes(&mut bench, frames);
    let expected = [
        Outcome::Datagram,
        DatagramCopy,
        DatagramCopy,
        DatagramCopy,
        Outcome::Datagram,
        DatagramCopy,
    ];
    assert_eq!(seen, expected);
}

/// A recording that is faster from elsewhere does not take the place of the genuine one.
#[test]
fn the_same_datagram_from_another_source_is_no_copy() {
    needs_bpf!();
    let mut bench = Bench::new(settings(Verdict::Drop));
    let sources = ["198.51.100.9", "192.0.2.2", "2001:db8::2", "2001:db8::3"];
    let seen = outcomes(&mut bench, sources.map(|source| from(source, 1)));
    assert_eq!(seen, [Outcome::Datagram; 4]);
    let seen = outcomes(&mut bench, sources.map(|source| from(source, 1)));
    assert_eq!(seen, [DatagramCopy; 4]);
}

#[test]
fn a_copy_after_the_window_is_a_datagram_again() {
    needs_bpf!();
    let mut bench = Bench::new(settings(Verdict::Drop));
    assert_eq!(outcomes(&mut bench, [knock(1)]), [Outcome::Datagram]);
    // Moves the time at which it was seen into the past.
    let map = Map::LruHashMap(bench.map("SEEN"));
    let mut seen: HashMap<_, [u8; 24], u64> = map.try_into().unwrap();
    let keys: Vec<_> = seen.keys().map(Result::unwrap).collect();
    let [key] = keys[..] else {
        panic!("{keys:?}");
    };
    assert_eq!(key[..8], payload(1)[136..]);
    assert_eq!(key[8..], Pair::CLIENT_V4.to_ipv6_mapped().octets());
    let mut set_age = |age: Duration| {
        let at = u64::try_from((monotonic() - age).as_nanos()).unwrap();
        seen.insert(key, at, 0).unwrap();
    };
    set_age(COPIES - Duration::from_secs(2));
    assert_eq!(outcomes(&mut bench, [knock(1)]), [DatagramCopy]);
    set_age(COPIES);
    let seen = outcomes(&mut bench, [knock(1), knock(1)]);
    assert_eq!(seen, [Outcome::Datagram, DatagramCopy]);
}

#[test]
fn a_source_is_limited_to_its_burst() {
    needs_bpf!();
    let default = with_rate(unlimited(Verdict::Pass), DEFAULT_DATAGRAM_RATE);
    let slow = with_rate(unlimited(Verdict::Pass), slow(32));
    for settings in [default, slow] {
        let mut bench = Bench::new(settings);
        let seen = outcomes(&mut bench, (0..32).map(knock));
        assert_eq!(seen, [Outcome::Datagram; 32]);
    }
    let mut bench = Bench::new(slow);
    outcomes(&mut bench, (0..100).map(knock));
    let limited = outcomes(&mut bench, (100..110).map(knock));
    assert!(limited.contains(&DatagramLimited), "{limited:?}");
    // Other sources are not affected, and a whole /64 is one source.
    let others = ["192.0.2.3", "2001:db8::2"].map(|source| from(source, 1));
    assert_eq!(outcomes(&mut bench, others), [Outcome::Datagram; 2]);
    let same = (0..100).map(|host| from(&format!("2001:db8::{host:x}"), 1000 + host));
    assert!(outcomes(&mut bench, same).contains(&DatagramLimited));
}

/// SYNs with a client's forged address do not stop its datagram, and the other way round.
#[test]
fn syns_and_datagrams_have_budgets_of_their_own() {
    needs_bpf!();
    let settings = Settings::new(Window::DEFAULT, Verdict::Drop, slow(4));
    let syn = syn_v4(0).bytes().unwrap();
    let mut bench = Bench::new(with_rate(settings, slow(4)));
    let syns = outcomes(&mut bench, vec![syn.clone(); 30]);
    assert!(syns.contains(&RateLimited), "{syns:?}");
    assert_eq!(outcomes(&mut bench, [knock(1)]), [Outcome::Datagram]);

    let mut bench = Bench::new(with_rate(settings, slow(4)));
    let datagrams = outcomes(&mut bench, (0..30).map(knock));
    assert!(datagrams.contains(&DatagramLimited), "{datagrams:?}");
    assert_eq!(outcomes(&mut bench, [syn]), [Outcome::Knock]);
}

#[test]
fn a_copy_makes_up_for_a_datagram_that_a_full_ring_has_lost() {
    needs_bpf!();
    const DATAGRAMS: u64 = 6000;
    let mut bench = Bench::new(with_rate(unlimited(Verdict::Pass), unlimited_rate()));
    for number in 0..DATAGRAMS {
        bench.repeat(&knock(number), 1);
    }
    let accepted = bench.count(Outcome::Datagram);
    assert!(accepted >= 5_600, "the ring holds only {accepted} events");
    assert_eq!(accepted + bench.count(DatagramRingFull), DATAGRAMS);
    let lost = [knock(DATAGRAMS - 1), knock(DATAGRAMS)];
    for frame in &lost {
        let refused = bench.repeat(frame, 1);
        assert_eq!(crate::bench::action(&refused), Action::Drop);
    }
    assert_eq!(bench.count(DatagramRingFull), DATAGRAMS - accepted + 2);
    // SYNs have a ring of their own.
    bench.repeat(&syn_v4(0).bytes().unwrap(), 1);
    assert_eq!(bench.count(Outcome::Knock), 1);

    let read = bench.read_datagrams(usize::try_from(accepted).unwrap());
    let numbers = (0..accepted).map(payload);
    assert!(read.iter().map(|it| it.bytes).eq(numbers));
    bench.repeat(&lost[1], 1);
    let read = bench.read_datagrams(1);
    assert_eq!(read[0].bytes, payload(DATAGRAMS));
    assert_eq!(bench.count(DatagramCopy), 0);
}

#[test]
fn the_daemon_decodes_the_datagrams_of_the_kernel() {
    needs_bpf!();
    let mut bench = Bench::new(settings(Verdict::Drop));
    let before = monotonic();
    let sources = [
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)),
        Pair::CLIENT_V6.into(),
    ];
    for source in sources {
        bench.repeat(&datagram(source, &payload(7)).bytes().unwrap(), 1);
    }
    let read = bench.read_datagrams(2);
    let after = monotonic();
    for (received, source) in read.iter().zip(sources) {
        assert!(before <= received.at && received.at <= after);
        let expected = Datagram {
            source,
            source_port: SOURCE_PORT,
            at: received.at,
            bytes: payload(7),
        };
        assert_eq!(*received, expected);
    }
    assert_eq!(read.len(), 2);
}
