use std::{collections::VecDeque, net::Ipv4Addr, time::Duration};

use fastrand::Rng;
use knockd_types::syn::Syn;

use super::*;
use crate::assembler::queue::{MAX_EVENTS, Queue};

/// A source port and an offset.
type Sent = (u16, u8);

/// The 16 SYNs of a random knock.
fn knock(random: &mut Rng) -> Vec<Sent> {
    let first = random.u16(1024..65520);
    (0..16).map(|i| (first + i, random.u8(..))).collect()
}

/// How many knocks with holes are among SYNs that arrive one millisecond apart.
fn found(sent: impl IntoIterator<Item = Sent>) -> u64 {
    let mut queue = Queue::default();
    for (at, (source_port, offset)) in (0..).zip(sent) {
        let syn = Syn {
            source: Ipv4Addr::new(192, 0, 2, 1).into(),
            source_port: Some(source_port),
            offset,
            at: Duration::from_millis(at),
        };
        queue.insert(Event::from(&syn));
    }
    count(queue.events())
}

/// The SYNs that reach each of `nodes`. The hash is a random one, the same for copies of a SYN.
fn spread(sent: &[Sent], nodes: usize, random: &mut Rng) -> Vec<Vec<Sent>> {
    let choice: Vec<_> = sent.iter().map(|_| random.usize(..nodes)).collect();
    let of = |node| {
        let chosen = sent.iter().zip(&choice).filter(move |(_, it)| **it == node);
        chosen.map(|(sent, _)| *sent).collect()
    };
    (0..nodes).map(of).collect()
}

#[test]
fn nodes_that_are_chosen_by_ports_notice_most_knocks() {
    const KNOCKS: u64 = 1000;
    let mut random = Rng::with_seed(1);
    for (nodes, percent) in [(2, 70), (3, 65), (5, 25)] {
        let mut noticed = vec![0; nodes];
        for _ in 0..KNOCKS {
            let arrived = spread(&knock(&mut random), nodes, &mut random);
            for (noticed, arrived) in noticed.iter_mut().zip(&arrived) {
                // With the client's three copies.
                let copies = arrived.repeat(3);
                *noticed += found(copies);
            }
        }
        assert!(
            noticed
                .iter()
                .all(|noticed| *noticed >= KNOCKS * percent / 100),
            "{nodes} nodes: {noticed:?}"
        );
    }
}

#[test]
fn each_of_several_knocks_counts() {
    let mut random = Rng::with_seed(2);
    let part: [u16; 6] = [0, 2, 3, 8, 11, 13];
    let of = |first: u16, random: &mut Rng| part.map(|port| (first + port, random.u8(..)));
    let knocks = [40_000, 30_000, 50_000].map(|first| of(first, &mut random));
    assert_eq!(found(knocks.concat()), 3);
}

#[test]
fn a_knock_that_is_whole_or_has_lost_a_few_syns_has_no_holes() {
    let mut random = Rng::with_seed(3);
    for _ in 0..1000 {
        let whole = knock(&mut random);
        for lost in 0..5 {
            let mut left = whole.clone();
            for _ in 0..lost {
                left.remove(random.usize(..left.len()));
            }
            assert_eq!(found(left.repeat(3)), 0, "{left:?}");
            // The client knocks again.
            assert_eq!(found([left, knock(&mut random)].concat()), 0);
        }
    }
}

#[test]
fn a_knock_that_was_interrupted_has_no_holes() {
    let mut random = Rng::with_seed(4);
    let whole = knock(&mut random);
    for length in 0..16 {
        assert_eq!(found(whole[..length].iter().copied()), 0);
        assert_eq!(found(whole[length..].iter().copied()), 0);
    }
}

/// One source port for all ports, and the next one for each that is tried again.
#[test]
fn nmap_is_no_knock() {
    let mut random = Rng::with_seed(5);
    for _ in 0..1000 {
        let first = random.u16(32_768..61_000);
        let tries = random.u16(1..12);
        let ports = random.usize(1..20);
        let mut targets: Vec<u8> = (0..=255).collect();
        random.shuffle(&mut targets);
        let tried = (0..tries).flat_map(|number| {
            let targets = targets[..ports].iter();
            targets.map(move |target| (first + number, *target))
        });
        assert_eq!(found(tried.collect::<Vec<_>>()), 0);
    }
}

/// One of 16 consecutive source ports for each port: that is masscan's default.
#[test]
fn masscan_is_rarely_taken_for_one() {
    const SCANS: u64 = 10_000;
    let mut random = Rng::with_seed(6);
    let mut scan = |syns: usize| {
        let first = random.u16(40_000..60_000);
        let sent = (0..syns).map(|_| (first + random.u16(..16), random.u8(..)));
        found(sent.collect::<VecDeque<_>>())
    };
    let mut noticed = |syns| (0..SCANS).map(|_| scan(syns)).sum::<u64>();
    assert_eq!([1, 2, 3, 16, 64, 256].map(&mut noticed), [0; 6]);
    let (four, five) = (noticed(4), noticed(5));
    assert!(
        four < SCANS * 3 / 100 && five < SCANS / 100,
        "{four} {five}"
    );
}

#[test]
fn scanners_that_take_one_source_port_after_the_other_or_random_ones_are_no_knock() {
    let mut random = Rng::with_seed(7);
    for step in 1..8 {
        let ascending =
            (0..u16::try_from(MAX_EVENTS).unwrap()).map(|i| (40_000 + step * i, random.u8(..)));
        assert_eq!(found(ascending.collect::<Vec<_>>()), 0, "{step}");
    }
    for syns in [4, 16, MAX_EVENTS] {
        for _ in 0..1000 {
            let sent = (0..syns).map(|_| (random.u16(1024..), random.u8(..)));
            assert_eq!(found(sent.collect::<Vec<_>>()), 0);
        }
    }
}

#[test]
fn a_client_that_tries_one_port_again_and_again_is_no_knock() {
    assert_eq!(found((0..8).map(|i| (40_000 + 2 * i, 5))), 0);
    let two = (0..8).map(|i| (40_000 + 2 * i, u8::try_from(i % 3).unwrap()));
    assert_eq!(found(two), 0);
}

#[test]
fn the_last_source_ports_are_ports_too() {
    let ports = [65_520, 65_522, 65_527, 65_531, 65_535];
    assert_eq!(found(ports.into_iter().zip(0..)), 1);
    assert_eq!(
        found(ports.map(|port| port - 65_519).into_iter().zip(0..)),
        1
    );
}
