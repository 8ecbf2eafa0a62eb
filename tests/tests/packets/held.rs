//! SYNs that are held back in a flood of new sources.

use std::net::{IpAddr, Ipv4Addr};

use aya::{
    maps::{Map, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use knock_common::{
    counters::Outcome,
    event::KnockEvent,
    settings::{Settings, Verdict},
    window::Window,
};
use knock_tests::{link::Pair, privilege};
use knockd_runtime::clock::monotonic;

use crate::{
    bench::{Action, Bench, decode, unlimited_rate},
    table::{BASE, syn_to},
};

/// The SYNs of a source that are held back.
const HELD: u16 = 3;

/// A program for which there is a flood of new sources: no CPU has a token for one, ever.
fn flooded(verdict: Verdict) -> Bench {
    let mut bench = Bench::new(Settings::new(Window::DEFAULT, verdict, unlimited_rate()));
    let map = Map::PerCpuArray(bench.map("NEW_SOURCES"));
    let mut buckets = PerCpuArray::<_, u64>::try_from(map).unwrap();
    let never = PerCpuValues::try_from(vec![u64::MAX / 2; nr_cpus().unwrap()]).unwrap();
    buckets.set(0, never, 0).unwrap();
    bench
}

/// The SYN to offset `number` of the window.
fn syn(source: IpAddr, number: u16) -> Vec<u8> {
    let destination = match source {
        IpAddr::V4(_) => IpAddr::from(Pair::SERVER_V4),
        IpAddr::V6(_) => Pair::SERVER_V6.into(),
    };
    syn_to(source, destination, BASE + number).bytes().unwrap()
}

fn events(bench: &mut Bench) -> Vec<KnockEvent> {
    std::iter::from_fn(|| bench.take_event())
        .map(|entry| decode(&entry))
        .collect()
}

#[test]
fn the_first_syns_of_a_source_wait_for_one_more() {
    if !privilege::bpf() {
        return;
    }
    for source in ["192.0.2.2", "2001:db8::2"] {
        let source: IpAddr = source.parse().unwrap();
        let mut bench = flooded(Verdict::Drop);
        for number in 0..HELD {
            let held = bench.run(&syn(source, number));
            assert_eq!(held.outcome, Outcome::Held, "SYN {number}");
            assert_eq!(held.event, None);
        }
        bench.repeat(&syn(source, HELD), 1);
        let released = events(&mut bench);
        let offsets: Vec<u16> = released.iter().map(|event| event.offset.into()).collect();
        assert_eq!(offsets, (0..=HELD).collect::<Vec<_>>());
        assert!(released.iter().all(|event| event.source() == source));
        assert!(released.is_sorted_by(|a, b| a.arrival_ns < b.arrival_ns));

        let next = bench.run(&syn(source, HELD + 1));
        assert_eq!(next.outcome, Outcome::Knock);
        assert_eq!(bench.count(Outcome::Held), u64::from(HELD));
    }
}

#[test]
fn a_known_source_and_its_ipv6_network_are_not_held_back() {
    if !privilege::bpf() {
        return;
    }
    for (known, other) in [
        ("192.0.2.2", "192.0.2.2"),
        ("2001:db8::2", "2001:db8::ffff:3"),
    ] {
        let mut bench = flooded(Verdict::Drop);
        for number in 0..=HELD {
            bench.repeat(&syn(known.parse().unwrap(), number), 1);
        }
        events(&mut bench);
        let result = bench.run(&syn(other.parse().unwrap(), 9));
        assert_eq!(result.outcome, Outcome::Knock, "{other} after {known}");
    }
}

#[test]
fn sources_become_known_with_their_first_syn_until_there_are_too_many() {
    if !privilege::bpf() {
        return;
    }
    const SOURCES: u32 = 10_000;
    let settings = Settings::new(Window::DEFAULT, Verdict::Drop, unlimited_rate());
    let mut bench = Bench::new(settings);
    let start = monotonic();
    for source in 0..SOURCES {
        let forged = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + source);
        bench.repeat(&syn(forged.into(), 0), 1);
    }
    let seconds = (monotonic() - start).as_secs_f64().ceil();
    let known = bench.count(Outcome::Knock);
    assert_eq!(known + bench.count(Outcome::Held), u64::from(SOURCES));
    // 64 at once and 16 per second, on each CPU that the test has run on.
    assert!(known >= 64, "{known}");
    let cpus = nr_cpus().unwrap() as f64;
    assert!(
        (known as f64) <= cpus * (64.0 + 16.0 * seconds),
        "{known} in {seconds} s"
    );
    assert_eq!(events(&mut bench).len() as u64, known);
}

#[test]
fn a_held_syn_has_the_configured_verdict() {
    if !privilege::bpf() {
        return;
    }
    for (verdict, action) in [(Verdict::Drop, Action::Drop), (Verdict::Pass, Action::Pass)] {
        let mut bench = flooded(verdict);
        let held = bench.run(&syn(Ipv4Addr::new(192, 0, 2, 2).into(), 0));
        assert_eq!((held.outcome, held.action), (Outcome::Held, action));
    }
}
