use std::net::Ipv4Addr;

use proptest::prelude::*;

use knock_common::protocol::block::Block;

use super::*;
use crate::assembler::queue::{MAX_CANDIDATES, Queue};

const TIMEOUT: Duration = Duration::from_secs(15);
const PORT: u16 = 40_000;

fn assembler() -> Assembler {
    Assembler::new(TIMEOUT, NonZeroUsize::new(4).unwrap())
}

fn source(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn syn(source_port: u16, offset: u8, at_ms: u64) -> Syn {
    Syn {
        source: source(1),
        source_port: Some(source_port),
        offset,
        at: Duration::from_millis(at_ms),
    }
}

fn blocks(progress: Option<Candidates>) -> Vec<Block> {
    let candidates = progress.unwrap_or_default().blocks;
    candidates.iter().map(|candidate| candidate.block).collect()
}

/// All blocks that `syns` complete, in the order in which the daemon tries them.
fn candidates(assembler: &mut Assembler, syns: &[Syn]) -> Vec<Block> {
    syns.iter()
        .flat_map(|syn| blocks(assembler.push(syn)))
        .collect()
}

/// The SYNs of `block` in order, from 16 source ports starting at `first_port`, 2 ms apart.
fn series(block: [u8; 16], first_port: u16, start_ms: u64) -> Vec<Syn> {
    (0_u16..)
        .zip(block)
        .map(|(i, offset)| syn(first_port + i, offset, start_ms + 2 * u64::from(i)))
        .collect()
}

const BLOCK: [u8; 16] = [9, 9, 3, 200, 255, 0, 17, 9, 1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn sixteen_syns_make_one_block() {
    let mut assembler = assembler();
    let syns = series(BLOCK, PORT, 0);
    assert!(candidates(&mut assembler, &syns[..15]).is_empty());
    assert_eq!(candidates(&mut assembler, &syns[15..]), [Block(BLOCK)]);
}

#[test]
fn arrival_order_is_enough() {
    let mut syns = series(BLOCK, PORT, 0);
    for (i, syn) in (0_u16..).zip(&mut syns) {
        // Source ports chosen by a NAT, or `--lines` without source ports.
        syn.source_port = (i % 2 == 0).then_some(PORT.wrapping_mul(i + 7));
    }
    assert_eq!(candidates(&mut assembler(), &syns), [Block(BLOCK)]);
}

#[test]
fn a_line_without_source_port_is_never_a_retransmission() {
    let mut syns = series([7; 16], PORT, 0);
    for syn in &mut syns {
        syn.source_port = None;
    }
    assert_eq!(candidates(&mut assembler(), &syns), [Block([7; 16])]);
}

#[test]
fn events_grow_old() {
    let mut syns = series(BLOCK, PORT, 0);
    let mut late = syns.split_off(15);
    late[0].at = syns[0].at + TIMEOUT + Duration::from_millis(1);
    assert!(candidates(&mut assembler(), &[syns.clone(), late.clone()].concat()).is_empty());
    late[0].at = syns[0].at + TIMEOUT;
    assert_eq!(
        candidates(&mut assembler(), &[syns, late].concat()),
        [Block(BLOCK)]
    );
}

#[test]
fn sources_do_not_mix() {
    let mut assembler = assembler();
    let ours = series(BLOCK, PORT, 0);
    let theirs = series([5; 16], PORT, 1);
    let mut found = Vec::new();
    for (ours, theirs) in ours.iter().zip(theirs) {
        let theirs = Syn {
            source: source(2),
            ..theirs
        };
        found.extend(candidates(&mut assembler, &[*ours, theirs]));
    }
    assert_eq!(found, [Block(BLOCK), Block([5; 16])]);
    assert_eq!(assembler.sources(), 2);
    assembler.accept(&source(1), Duration::from_millis(30));
    assert_eq!(assembler.sources(), 1);
}

/// The daemon may have read the next knock when it accepts the first.
#[test]
fn an_accepted_knock_leaves_the_syns_after_it() {
    let mut assembler = assembler();
    let first = series(BLOCK, PORT, 0);
    let second = series([5; 16], PORT + 16, 100);
    let found: Vec<_> = first
        .iter()
        .chain(&second[..8])
        .flat_map(|syn| assembler.push(syn).unwrap().blocks)
        .collect();
    let (knock, mixed) = found.split_first().unwrap();
    assert_eq!((knock.block, knock.rank), (Block(BLOCK), 0));
    assert_eq!(knock.since..knock.until, first[0].at..first[15].at);
    // The blocks with SYNs of both: each of them is known as such.
    assert!(mixed.iter().all(|mixed| mixed.since <= knock.until));
    assert!((1..).zip(mixed).all(|(rank, mixed)| mixed.rank == rank));
    assembler.accept(&source(1), knock.until);
    let found = candidates(&mut assembler, &second[8..]);
    assert_eq!(found, [Block([5; 16])]);
}

#[test]
fn the_least_recently_seen_source_makes_room() {
    let mut assembler = assembler();
    let syns = series(BLOCK, PORT, 0);
    candidates(&mut assembler, &syns[..8]);
    for last in 2..=4 {
        assembler.push(&Syn {
            source: source(last),
            ..syns[0]
        });
    }
    candidates(&mut assembler, &syns[8..9]);
    assembler.push(&Syn {
        source: source(5),
        ..syns[9]
    });
    assert_eq!((assembler.sources(), assembler.evicted()), (4, 1));
    // Source 1 was seen after source 2, so source 2 was evicted.
    assert_eq!(candidates(&mut assembler, &syns[9..]), [Block(BLOCK)]);
}

#[test]
fn silent_sources_are_forgotten() {
    let mut assembler = assembler();
    assembler.push(&syn(PORT, 0, 0));
    assembler.forget(TIMEOUT);
    assert_eq!(assembler.sources(), 1);
    assembler.forget(TIMEOUT + Duration::from_millis(1));
    assert_eq!(assembler.sources(), 0);
}

#[test]
fn a_knock_with_holes_counts_when_it_expires() {
    let mut assembler = assembler();
    let whole = series(BLOCK, PORT, 0);
    let part = [0, 1, 4, 7, 9, 14].map(|i| whole[i]);
    candidates(&mut assembler, &part);
    assembler.forget(whole[14].at + TIMEOUT);
    assert_eq!(assembler.knocks_with_holes(), 0);
    // The next SYN, of whichever source, comes after its time.
    let late = whole[14].at + TIMEOUT + Duration::from_millis(1);
    let next = Syn {
        source: source(2),
        at: late,
        ..whole[0]
    };
    candidates(&mut assembler, &[next]);
    assert_eq!(assembler.knocks_with_holes(), 1);
    assembler.forget(late + 2 * TIMEOUT);
    assert_eq!((assembler.knocks_with_holes(), assembler.sources()), (1, 0));
}

#[test]
fn an_accepted_knock_and_its_copies_have_no_holes() {
    let mut assembler = assembler();
    let mut syns = series(BLOCK, PORT, 0);
    candidates(&mut assembler, &syns);
    assembler.accept(&source(1), syns[15].at);
    for syn in &mut syns {
        syn.at += Duration::from_millis(32);
    }
    candidates(&mut assembler, &syns);
    assembler.forget(3 * TIMEOUT);
    assert_eq!((assembler.knocks_with_holes(), assembler.sources()), (0, 0));
}

#[test]
fn attempts_are_bounded() {
    let mut assembler = assembler();
    let mut tried = 0;
    let mut left_out = 0;
    for i in 0..2000_u32 {
        let offset = u8::try_from(i % 251).unwrap();
        let event = Syn {
            source_port: None,
            ..syn(0, offset, 1000)
        };
        if let Some(Candidates { blocks, limited }) = assembler.push(&event) {
            tried += blocks.len();
            left_out += limited;
        }
    }
    assert_eq!((tried, tried + left_out), (256, 2000 - 15));
}

#[test]
fn a_queue_is_bounded() {
    let mut assembler = assembler();
    for i in 0..10_000_u32 {
        let port = u16::try_from(i).unwrap();
        assembler.push(&syn(port, 1, 0));
    }
    let queue = assembler.sources.oldest().unwrap();
    assert_eq!(queue.len(), MAX_EVENTS);
}

#[test]
fn a_source_in_a_reused_slot_inherits_no_events() {
    let mut assembler = Assembler::new(TIMEOUT, NonZeroUsize::MIN);
    let syns = series(BLOCK, PORT, 0);
    candidates(&mut assembler, &syns[..15]);
    let other = Syn {
        source: source(2),
        ..syns[15]
    };
    assert!(candidates(&mut assembler, &[other]).is_empty());
    assert!(candidates(&mut assembler, &syns[15..]).is_empty());
    assert_eq!((assembler.sources(), assembler.evicted()), (1, 2));
}

#[test]
fn memory_is_released_and_the_remaining_sources_keep_their_events() {
    let mut assembler = Assembler::new(TIMEOUT, NonZeroUsize::new(20_000).unwrap());
    let flood = |count: u32| {
        (0..count).map(|address| Syn {
            source: Ipv4Addr::from_bits(0x0a00_0000 | address).into(),
            ..syn(PORT, 0, 0)
        })
    };
    for syn in flood(20_000) {
        assembler.push(&syn);
    }
    let (slots, _) = assembler.sources.capacity();
    assert!(slots >= 20_000);
    let syns = series(BLOCK, PORT, 14_999);
    candidates(&mut assembler, &syns[..8]);
    assert_eq!(candidates(&mut assembler, &syns[8..]), [Block(BLOCK)]);
    let last = syn(PORT, 0, 15_032);
    assembler.push(&Syn {
        source: source(2),
        ..last
    });
    assert_eq!(assembler.sources(), 2);
    let (slots, table) = assembler.sources.capacity();
    assert!(slots < 10 && table < 10, "{slots} {table}");
}

/// An operation on the assembler.
#[derive(Clone, Debug)]
enum Step {
    /// SYNs that are looked up together: source, source port, offset, and time since the
    /// previous one.
    Push(Vec<(u8, Option<u16>, u8, u64)>),
    /// A block of this source, whose last SYN came this many milliseconds ago.
    Accept(u8, u64),
    Forget(u64),
    Limit(usize),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let syn = (
        0_u8..6,
        prop::option::weighted(0.2, 0_u16..40),
        0_u8..4,
        0_u64..300,
    );
    prop_oneof![
        20 => prop::collection::vec(syn, 1..20).prop_map(Step::Push),
        1 => (0_u8..6, 0_u64..1000).prop_map(|(last, before)| Step::Accept(last, before)),
        1 => (0_u64..30_000).prop_map(Step::Forget),
        1 => (1_usize..6).prop_map(Step::Limit),
        1 => Just(Step::Clear),
    ]
}

/// A simple reference model of [`Assembler`]: the most recently seen source is at the end.
struct Model {
    sources: Vec<(IpAddr, Queue)>,
    most: usize,
    evicted: u64,
}

impl Model {
    fn push(&mut self, syn: &Syn) -> Option<Candidates> {
        self.forget(syn.at);
        let place = self.sources.iter().position(|(at, _)| *at == syn.source);
        let mut queue = place.map_or_else(Queue::default, |place| self.sources.remove(place).1);
        queue.expire(nanoseconds(syn.at), nanoseconds(TIMEOUT));
        let event = Event::from(syn);
        let found = queue.insert(event).then(|| queue.candidates(&event));
        self.sources.push((syn.source, queue));
        self.keep_to_limit();
        found
    }

    fn forget(&mut self, now: Duration) {
        let (now, timeout) = (nanoseconds(now), nanoseconds(TIMEOUT));
        while self
            .sources
            .first()
            .is_some_and(|(_, queue)| queue.is_over(now, timeout))
        {
            self.sources.remove(0);
        }
    }

    fn keep_to_limit(&mut self) {
        while self.sources.len() > self.most {
            self.sources.remove(0);
            self.evicted += 1;
        }
    }
}

proptest! {
    #[test]
    fn sources_come_and_go_as_in_a_plain_list(steps in prop::collection::vec(step(), 0..60)) {
        let mut assembler = assembler();
        let mut model = Model { sources: Vec::new(), most: 4, evicted: 0 };
        let mut now = Duration::ZERO;
        for step in steps {
            match step {
                Step::Push(syns) => {
                    let syns: Vec<_> = syns.into_iter().map(|(last, source_port, offset, later)| {
                        now += Duration::from_millis(later);
                        Syn { source: source(last), source_port, offset, at: now }
                    }).collect();
                    for lookup in assembler.sight(&syns) {
                        prop_assert_eq!(assembler.push_sighted(lookup), model.push(lookup.syn));
                    }
                }
                Step::Accept(last, before) => {
                    let until = now.saturating_sub(Duration::from_millis(before));
                    assembler.accept(&source(last), until);
                    model.sources.retain_mut(|(address, queue)| {
                        *address != source(last) || !queue.accept(nanoseconds(until))
                    });
                }
                Step::Forget(later) => {
                    now += Duration::from_millis(later);
                    assembler.forget(now);
                    model.forget(now);
                }
                Step::Limit(most) => {
                    assembler.set_limits(TIMEOUT, NonZeroUsize::new(most).unwrap());
                    model.most = most;
                    model.keep_to_limit();
                }
                Step::Clear => {
                    assembler.clear();
                    model.sources.clear();
                }
            }
            prop_assert_eq!(assembler.sources(), model.sources.len());
            prop_assert_eq!(assembler.evicted(), model.evicted);
        }
    }

    #[test]
    fn any_order_of_arrival_is_put_right_by_source_ports(
        block: [u8; 16],
        order in Just((0..16_usize).collect::<Vec<_>>()).prop_shuffle(),
        first_port in 1024_u16..=65520,
    ) {
        let series = series(block, first_port, 0);
        let shuffled: Vec<_> = order.iter().enumerate().map(|(place, i)| Syn {
            at: Duration::from_millis(place as u64),
            ..series[*i]
        }).collect();
        let found = candidates(&mut assembler(), &shuffled);
        prop_assert!(found.contains(&Block(block)));
        prop_assert!(found.len() <= 2);
    }

    #[test]
    fn noise_before_and_copies_between_cost_only_attempts(
        block: [u8; 16],
        noise in prop::collection::vec((any::<u16>(), any::<u8>()), 0..MAX_EVENTS - 16),
        copies in 1_usize..4,
    ) {
        let mut assembler = assembler();
        let noise: Vec<_> = noise.into_iter().map(|(port, offset)| syn(port, offset, 0)).collect();
        candidates(&mut assembler, &noise);
        let series: Vec<_> = series(block, PORT, 1)
            .into_iter()
            .flat_map(|syn| std::iter::repeat_n(syn, copies))
            .collect();
        let found = candidates(&mut assembler, &series);
        // Noise that equals one of the SYNs takes its position in the order of arrival.
        prop_assert!(found.contains(&Block(block)));
    }

    #[test]
    fn a_second_knock_from_the_same_ports_replaces_the_first(first: [u8; 16], second: [u8; 16]) {
        let mut assembler = assembler();
        candidates(&mut assembler, &series(first, PORT, 0));
        let mut syns = series(second, PORT, 100);
        syns.reverse();
        for (i, syn) in (100..).zip(&mut syns) {
            syn.at = Duration::from_millis(i);
        }
        // If both have the same byte at the same position, this SYN is a retransmission.
        let found = candidates(&mut assembler, &syns);
        prop_assert!(first == second || found.contains(&Block(second)));
    }

    #[test]
    fn nothing_panics_and_every_bound_holds(
        events in prop::collection::vec((any::<u8>(), any::<Option<u16>>(), any::<u8>(), 0_u64..60_000), 0..400),
    ) {
        let mut assembler = assembler();
        for (last, source_port, offset, at) in events {
            let progress = assembler.push(&Syn {
                source: source(last),
                source_port,
                offset,
                at: Duration::from_millis(at),
            });
            prop_assert!(blocks(progress).len() <= MAX_CANDIDATES);
            prop_assert!(assembler.sources() <= 4);
        }
    }
}
