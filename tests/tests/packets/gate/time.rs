//! Expiry of leases according to the kernel's clock.

use std::time::Duration;

use knock_common::{
    counters::Outcome::{GateLeased, GateRefused},
    gate::{LeaseKey, Mode},
    settings::Verdict,
};
use knock_tests::needs_bpf;
use knockd_runtime::clock::boottime;
use knockd_types::rules::{Opening, Rules};

use super::{HOUR, requests, rules};
use crate::bench::{Bench, unlimited};

const PORTS: [&str; 2] = ["tcp/22", "udp/51820"];

/// Has passed at the next reading of the clock.
const MOMENT: Duration = Duration::from_nanos(1);

/// The lease of a source, and a frame that it admits.
struct Leased {
    what: String,
    frame: Vec<u8>,
    keys: Vec<LeaseKey>,
    is_udp: bool,
}

/// One lease for each family and port.
fn all_leased() -> Vec<Leased> {
    let of = |port: &str| {
        let opening = Opening {
            ports: vec![port.parse().unwrap()],
            ipv4_prefix: 32,
            ipv6_prefix: 64,
        };
        requests(port).map(|request| Leased {
            what: format!("{} to {port}", request.source),
            frame: request.bytes().unwrap(),
            keys: opening.keys(request.source),
            is_udp: port.starts_with("udp"),
        })
    };
    PORTS.into_iter().flat_map(of).collect()
}

/// A program for each mode, in which a UDP lease is extended by an hour of idle time.
fn benches() -> [Bench; 2] {
    [Mode::Enforce, Mode::Observe].map(|mode| with_idle(HOUR, mode))
}

fn with_idle(udp_idle: Duration, mode: Mode) -> Bench {
    let rules = Rules {
        udp_idle,
        mode,
        ..rules(&PORTS)
    };
    Bench::with_gate(unlimited(Verdict::Drop), &rules)
}

#[test]
fn a_lease_admits_its_source_until_it_expires() {
    needs_bpf!();
    for mut bench in benches() {
        for Leased {
            what, frame, keys, ..
        } in all_leased()
        {
            bench.gate().open(&keys, Duration::ZERO).unwrap();
            assert_eq!(bench.run(&frame).outcome, GateRefused, "{what}");
            // Again, because the refused packet must not extend the lease.
            assert_eq!(bench.run(&frame).outcome, GateRefused, "{what}");
            assert_eq!(bench.gate().left(&keys), Duration::ZERO);
            for left in [HOUR, 365 * 24 * HOUR, 100 * 365 * 24 * HOUR] {
                bench.gate().open(&keys, left).unwrap();
                assert_eq!(bench.run(&frame).outcome, GateLeased, "{what}");
                assert!(bench.gate().left(&keys) > left - HOUR / 2, "{what}");
            }
            bench.gate().close(&keys).unwrap();
            assert_eq!(bench.run(&frame).outcome, GateRefused, "{what}");
        }
    }
}

#[test]
fn a_shorter_opening_does_not_shorten_a_lease() {
    needs_bpf!();
    for mut bench in benches() {
        for Leased {
            what, frame, keys, ..
        } in all_leased()
        {
            bench.gate().open(&keys, HOUR).unwrap();
            bench.gate().open(&keys, Duration::ZERO).unwrap();
            assert_eq!(bench.run(&frame).outcome, GateLeased, "{what}");
            assert!(bench.gate().left(&keys) > HOUR / 2, "{what}");
        }
    }
}

/// Otherwise a source that knocks again and again would be admitted for the sum of all its leases.
#[test]
fn a_further_opening_adds_nothing_to_the_time_that_is_left() {
    needs_bpf!();
    for mut bench in benches() {
        for Leased { what, keys, .. } in all_leased() {
            for _ in 0..3 {
                bench.gate().open(&keys, HOUR).unwrap();
            }
            let left = bench.gate().left(&keys);
            assert!((HOUR / 2..=HOUR).contains(&left), "{what}: {left:?}");
        }
    }
}

#[test]
fn a_lease_is_never_shortened_to_a_later_time() {
    needs_bpf!();
    for mut bench in benches() {
        for Leased {
            what, frame, keys, ..
        } in all_leased()
        {
            bench.gate().open(&keys, Duration::ZERO).unwrap();
            bench.gate().shorten(&keys[0], HOUR).unwrap();
            assert_eq!(bench.run(&frame).outcome, GateRefused, "{what}");
            bench.gate().open(&keys, HOUR).unwrap();
            bench.gate().shorten(&keys[0], 2 * HOUR).unwrap();
            assert!(bench.gate().left(&keys) <= HOUR, "{what}");
        }
    }
}

/// A door may have ports whose leases were revoked already, for example by another door.
#[test]
fn leases_are_revoked_also_behind_one_that_does_not_exist() {
    needs_bpf!();
    for mut bench in benches() {
        let all = all_leased();
        let keys: Vec<_> = all.iter().flat_map(|leased| leased.keys.clone()).collect();
        let (missing, existing) = keys.split_at(1);
        bench.gate().open(existing, HOUR).unwrap();
        assert!(!bench.gate().knows(missing));
        bench.gate().close(&keys).unwrap();
        for Leased { what, frame, .. } in &all {
            assert_eq!(bench.run(frame).outcome, GateRefused, "{what}");
        }
    }
}

#[test]
fn datagrams_extend_a_lease_and_connections_do_not() {
    needs_bpf!();
    for mut bench in benches() {
        for Leased {
            what,
            frame,
            keys,
            is_udp,
        } in all_leased()
        {
            bench.gate().open(&keys, HOUR).unwrap();
            assert_eq!(bench.run(&frame).outcome, GateLeased, "{what}");
            bench.gate().shorten(&keys[0], Duration::ZERO).unwrap();
            let (outcome, least) = if is_udp {
                (GateLeased, HOUR / 2)
            } else {
                (GateRefused, Duration::ZERO)
            };
            assert_eq!(bench.run(&frame).outcome, outcome, "{what}");
            let left = bench.gate().left(&keys);
            assert!((least..=HOUR).contains(&left), "{what}: {left:?}");
        }
    }
}

#[test]
fn an_unused_lease_is_not_extended() {
    needs_bpf!();
    for mut bench in benches() {
        for Leased {
            what, frame, keys, ..
        } in all_leased()
        {
            bench.gate().open(&keys, HOUR).unwrap();
            bench.gate().shorten(&keys[0], Duration::ZERO).unwrap();
            assert_eq!(bench.run(&frame).outcome, GateRefused, "{what}");
        }
    }
}

#[test]
fn datagrams_too_far_apart_do_not_extend_a_lease() {
    needs_bpf!();
    for mode in [Mode::Enforce, Mode::Observe] {
        let mut bench = with_idle(MOMENT, mode);
        for Leased {
            what, frame, keys, ..
        } in all_leased()
        {
            bench.gate().open(&keys, HOUR).unwrap();
            for _ in 0..2 {
                assert_eq!(bench.run(&frame).outcome, GateLeased, "{what}");
            }
            bench.gate().shorten(&keys[0], Duration::ZERO).unwrap();
            assert_eq!(bench.run(&frame).outcome, GateRefused, "{what}");
        }
    }
}

/// Datagrams extend only the lease of their own source and port.
#[test]
fn datagrams_do_not_extend_other_leases() {
    needs_bpf!();
    let mut bench = Bench::with_gate(unlimited(Verdict::Drop), &rules(&["udp/53", "udp/123"]));
    let all = [requests("udp/53"), requests("udp/123")].concat();
    let keys: Vec<_> = ["udp/53", "udp/123"]
        .into_iter()
        .flat_map(|port| {
            let opening = Opening {
                ports: vec![port.parse().unwrap()],
                ipv4_prefix: 32,
                ipv6_prefix: 128,
            };
            requests(port).map(|request| opening.keys(request.source)[0])
        })
        .collect();
    for used in 0..all.len() {
        bench.gate().close(&keys).unwrap();
        bench.gate().open(&keys, HOUR).unwrap();
        bench.run(&all[used].bytes().unwrap());
        for key in &keys {
            bench.gate().shorten(key, Duration::ZERO).unwrap();
        }
        for (index, request) in all.iter().enumerate() {
            let outcome = if index == used {
                GateLeased
            } else {
                GateRefused
            };
            let result = bench.run(&request.bytes().unwrap());
            assert_eq!(result.outcome, outcome, "{index} after {used}");
        }
    }
}

#[test]
fn a_lease_expires_on_time() {
    needs_bpf!();
    const LEFT: Duration = Duration::from_millis(50);
    let mut bench = with_idle(MOMENT, Mode::Enforce);
    for Leased {
        what, frame, keys, ..
    } in all_leased()
    {
        let earliest = boottime() + LEFT;
        bench.gate().open(&keys, LEFT).unwrap();
        let latest = boottime() + LEFT;
        loop {
            let before = boottime();
            let is_admitted = bench.run(&frame).outcome == GateLeased;
            if is_admitted {
                assert!(before < latest, "{what}: too long");
            } else {
                assert!(boottime() >= earliest, "{what}: not long enough");
                break;
            }
        }
    }
}
