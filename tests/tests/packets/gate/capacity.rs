//! A gate whose lease map is full.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    time::Duration,
};

use knock_common::{
    counters::Outcome::{GateLeased, GateRefused},
    gate::LeaseKey,
    settings::Verdict,
};
use knock_tests::needs_bpf;
use knockd_types::rules::{Opening, Port, Rules};
use knockd_xdp::leases::OpenError;

use super::{HOUR, request, rules};
use crate::bench::{Bench, unlimited};

const MAX_LEASES: u8 = 4;
const TCP: &str = "tcp/22";
const UDP: &str = "udp/51820";

/// A program with room for four leases.
fn bench() -> Bench {
    let rules = Rules {
        max_leases: NonZeroU32::new(MAX_LEASES.into()).unwrap(),
        ..rules(&[TCP, UDP])
    };
    Bench::with_gate(unlimited(Verdict::Drop), &rules)
}

fn source(host: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, host).into()
}

/// The lease keys of `host` for each of `ports`.
fn keys(host: u8, ports: &[&str]) -> Vec<LeaseKey> {
    let opening = Opening {
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
        ipv4_prefix: 32,
        ipv6_prefix: 128,
    };
    opening.keys(source(host))
}

fn open(bench: &mut Bench, host: u8, ports: &[&str]) -> Result<(), OpenError> {
    bench.gate().open(&keys(host, ports), HOUR)
}

fn assert_full(opened: &Result<(), OpenError>) {
    assert!(matches!(opened, Err(OpenError::Full)), "{opened:?}");
}

/// Asserts that exactly `hosts`, of hosts 1 to 9, are admitted to `port`.
fn assert_admitted(bench: &mut Bench, port: &str, hosts: &[u8]) {
    let number: Port = port.parse().unwrap();
    for host in 1..=9 {
        let frame = request(source(host), number).bytes().unwrap();
        let outcome = if hosts.contains(&host) {
            GateLeased
        } else {
            GateRefused
        };
        assert_eq!(
            bench.run(&frame).outcome,
            outcome,
            "{port} from host {host}"
        );
    }
}

#[test]
fn leases_beyond_the_limit_are_refused_and_existing_ones_stay() {
    needs_bpf!();
    let mut bench = bench();
    for host in 1..=MAX_LEASES {
        open(&mut bench, host, &[TCP]).unwrap();
    }
    for host in 5..=9 {
        assert_full(&open(&mut bench, host, &[TCP]));
    }
    assert_full(&open(&mut bench, 1, &[UDP]));
    assert_admitted(&mut bench, TCP, &[1, 2, 3, 4]);
    assert_admitted(&mut bench, UDP, &[]);
    assert_eq!(
        bench.gate().leases().unwrap().len(),
        usize::from(MAX_LEASES)
    );

    // Extending a lease needs no further entry.
    bench.gate().open(&keys(2, &[TCP]), 2 * HOUR).unwrap();
    assert!(bench.gate().left(&keys(2, &[TCP])) > HOUR);

    bench.gate().close(&keys(3, &[TCP])).unwrap();
    open(&mut bench, 5, &[TCP]).unwrap();
    assert_full(&open(&mut bench, 3, &[TCP]));
    assert_admitted(&mut bench, TCP, &[1, 2, 4, 5]);
}

#[test]
fn an_expired_lease_is_replaced() {
    needs_bpf!();
    let mut bench = bench();
    for host in 1..=MAX_LEASES {
        open(&mut bench, host, &[TCP]).unwrap();
    }
    for expired in [2, 3] {
        let [key] = keys(expired, &[TCP]).try_into().unwrap();
        bench.gate().shorten(&key, Duration::ZERO).unwrap();
    }
    open(&mut bench, 5, &[TCP, UDP]).unwrap();
    assert_full(&open(&mut bench, 6, &[TCP]));
    assert_admitted(&mut bench, TCP, &[1, 4, 5]);
    assert_admitted(&mut bench, UDP, &[5]);
}

#[test]
fn a_lease_extended_by_datagrams_is_not_replaced() {
    needs_bpf!();
    let mut bench = bench();
    for host in 1..=MAX_LEASES {
        open(&mut bench, host, &[UDP]).unwrap();
    }
    let [used, unused] = [2, 3].map(|host| keys(host, &[UDP])[0]);
    let datagram = request(source(2), UDP.parse().unwrap());
    assert_eq!(bench.run(&datagram.bytes().unwrap()).outcome, GateLeased);
    bench.gate().shorten(&used, Duration::ZERO).unwrap();
    assert_full(&open(&mut bench, 5, &[UDP]));
    bench.gate().shorten(&unused, Duration::ZERO).unwrap();
    open(&mut bench, 5, &[UDP]).unwrap();
    assert_admitted(&mut bench, UDP, &[1, 2, 4, 5]);
}

#[test]
fn a_partially_fitting_opening_is_refused_and_changes_nothing() {
    needs_bpf!();
    let mut bench = bench();
    for host in 1..=MAX_LEASES - 1 {
        open(&mut bench, host, &[TCP]).unwrap();
    }
    // One lease fits, two do not, in either order.
    assert_full(&open(&mut bench, 5, &[TCP, UDP]));
    assert_full(&open(&mut bench, 6, &[UDP, TCP]));
    assert_admitted(&mut bench, TCP, &[1, 2, 3]);
    assert_admitted(&mut bench, UDP, &[]);
    open(&mut bench, 4, &[TCP]).unwrap();
    // The first of the two exists already and stays.
    assert_full(&open(&mut bench, 1, &[TCP, UDP]));
    assert_full(&open(&mut bench, 2, &[UDP, TCP]));
    assert_admitted(&mut bench, TCP, &[1, 2, 3, 4]);
    assert_admitted(&mut bench, UDP, &[]);
}

/// A failed opening does not renew an expired lease.
#[test]
fn a_partially_fitting_opening_renews_no_expired_lease() {
    needs_bpf!();
    let mut bench = bench();
    for host in 1..=MAX_LEASES {
        open(&mut bench, host, &[TCP]).unwrap();
    }
    let [expired] = keys(1, &[TCP]).try_into().unwrap();
    bench.gate().shorten(&expired, Duration::ZERO).unwrap();
    assert_full(&open(&mut bench, 1, &[TCP, UDP]));
    assert_admitted(&mut bench, TCP, &[2, 3, 4]);
    assert_admitted(&mut bench, UDP, &[]);
}
