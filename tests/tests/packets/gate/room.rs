//! A gate that has as many leases as it may.

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

const ROOM: u8 = 4;
const TCP: &str = "tcp/22";
const UDP: &str = "udp/51820";

/// A program with room for four leases.
fn bench() -> Bench {
    let rules = Rules {
        max_leases: NonZeroU32::new(ROOM.into()).unwrap(),
        ..rules(&[TCP, UDP])
    };
    Bench::with_gate(unlimited(Verdict::Drop), &rules)
}

fn source(host: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, host).into()
}

/// The lease of `host` for each of `ports`.
fn keys(host: u8, ports: &[&str]) -> Vec<LeaseKey> {
    let opening = Opening {
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
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

/// Asserts who of the hosts 1 to 9 is let in.
fn assert_in(bench: &mut Bench, port: &str, hosts: &[u8]) {
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
fn there_is_no_lease_more_than_there_is_room_for_and_none_is_lost() {
    needs_bpf!();
    let mut bench = bench();
    for host in 1..=ROOM {
        open(&mut bench, host, &[TCP]).unwrap();
    }
    for host in 5..=9 {
        assert_full(&open(&mut bench, host, &[TCP]));
    }
    assert_full(&open(&mut bench, 1, &[UDP]));
    assert_in(&mut bench, TCP, &[1, 2, 3, 4]);
    assert_in(&mut bench, UDP, &[]);
    assert_eq!(bench.gate().leases().unwrap().len(), usize::from(ROOM));

    // To extend one takes no room.
    bench.gate().open(&keys(2, &[TCP]), 2 * HOUR).unwrap();
    assert!(bench.gate().left(&keys(2, &[TCP])) > HOUR);

    bench.gate().close(&keys(3, &[TCP])).unwrap();
    open(&mut bench, 5, &[TCP]).unwrap();
    assert_full(&open(&mut bench, 3, &[TCP]));
    assert_in(&mut bench, TCP, &[1, 2, 4, 5]);
}

#[test]
fn a_lease_that_has_ended_makes_room() {
    needs_bpf!();
    let mut bench = bench();
    for host in 1..=ROOM {
        open(&mut bench, host, &[TCP]).unwrap();
    }
    for ended in [2, 3] {
        let [key] = keys(ended, &[TCP]).try_into().unwrap();
        bench.gate().shorten(&key, Duration::ZERO).unwrap();
    }
    open(&mut bench, 5, &[TCP, UDP]).unwrap();
    assert_full(&open(&mut bench, 6, &[TCP]));
    assert_in(&mut bench, TCP, &[1, 4, 5]);
    assert_in(&mut bench, UDP, &[5]);
}

#[test]
fn a_lease_that_datagrams_keep_going_makes_no_room() {
    needs_bpf!();
    let mut bench = bench();
    for host in 1..=ROOM {
        open(&mut bench, host, &[UDP]).unwrap();
    }
    let [used, unused] = [2, 3].map(|host| keys(host, &[UDP])[0]);
    let datagram = request(source(2), UDP.parse().unwrap());
    assert_eq!(bench.run(&datagram.bytes().unwrap()).outcome, GateLeased);
    bench.gate().shorten(&used, Duration::ZERO).unwrap();
    assert_full(&open(&mut bench, 5, &[UDP]));
    bench.gate().shorten(&unused, Duration::ZERO).unwrap();
    open(&mut bench, 5, &[UDP]).unwrap();
    assert_in(&mut bench, UDP, &[1, 2, 4, 5]);
}

#[test]
fn leases_that_do_not_all_fit_are_all_refused_and_take_nothing_away() {
    needs_bpf!();
    let mut bench = bench();
    for host in 1..=ROOM - 1 {
        open(&mut bench, host, &[TCP]).unwrap();
    }
    // One fits, two do not; in either order.
    assert_full(&open(&mut bench, 5, &[TCP, UDP]));
    assert_full(&open(&mut bench, 6, &[UDP, TCP]));
    assert_in(&mut bench, TCP, &[1, 2, 3]);
    assert_in(&mut bench, UDP, &[]);
    open(&mut bench, 4, &[TCP]).unwrap();
    // Of two, one is there already and stays.
    assert_full(&open(&mut bench, 1, &[TCP, UDP]));
    assert_full(&open(&mut bench, 2, &[UDP, TCP]));
    assert_in(&mut bench, TCP, &[1, 2, 3, 4]);
    assert_in(&mut bench, UDP, &[]);
}

/// What has ended does not come back by an opening that fails.
#[test]
fn leases_that_do_not_all_fit_renew_none_that_has_ended() {
    needs_bpf!();
    let mut bench = bench();
    for host in 1..=ROOM {
        open(&mut bench, host, &[TCP]).unwrap();
    }
    let [ended] = keys(1, &[TCP]).try_into().unwrap();
    bench.gate().shorten(&ended, Duration::ZERO).unwrap();
    assert_full(&open(&mut bench, 1, &[TCP, UDP]));
    assert_in(&mut bench, TCP, &[2, 3, 4]);
    assert_in(&mut bench, UDP, &[]);
}
