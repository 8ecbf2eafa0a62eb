//! The SYNs of one source.

use std::{num::NonZeroU32, time::Duration};

use arrayvec::ArrayVec;
use knock_common::{
    protocol::block::{BLOCK_LEN, Block},
    rate::Rate,
};
use knockd_types::syn::Syn;

/// Events that are kept per source: four complete knocks, so that a knock is found despite
/// background noise from the same source.
pub const MAX_EVENTS: usize = 64;

/// Candidates that one event can complete: the last 16 events, and every run of 16 consecutive
/// source ports that contains the event's port.
pub(super) const MAX_CANDIDATES: usize = 1 + BLOCK_LEN;

/// A block that may be a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The block.
    pub block: Block,
    /// The time of its first SYN.
    pub since: Duration,
    /// The time of its last SYN.
    pub until: Duration,
    /// How many blocks of the same source came before, since the source was last forgotten or
    /// accepted.
    pub rank: u32,
}

/// The candidates that one event completes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Blocks to try with every key, the most likely first. Usually empty.
    pub blocks: ArrayVec<Candidate, MAX_CANDIDATES>,
    /// Blocks that were dropped because the source exceeded its rate limit.
    pub limited: usize,
}

/// The rate limit of blocks from one source that are tried with the keys: 256 per second, four
/// times the number that the kernel's default event rate allows.
const ATTEMPTS: Rate = {
    let (Some(per_second), Some(burst)) = (NonZeroU32::new(256), NonZeroU32::new(256)) else {
        panic!("both are above zero")
    };
    Rate::new(per_second, burst)
};

/// Events that are stored inside the source itself. A longer queue is allocated on the heap; most
/// sources never send so many SYNs.
const FEW: usize = 8;

/// The SYNs of one source that may become part of a knock, in order of arrival.
#[derive(Debug)]
pub(super) enum Queue {
    Few(ArrayVec<Event, FEW>),
    /// Never turned back into `Few`: the rate limit has to last as long as the source.
    Many {
        events: Vec<Event>,
        /// The state of the token bucket of [`ATTEMPTS`].
        attempts: u64,
        /// The rank of the next candidate.
        rank: u32,
    },
}

/// One SYN. Packed to 12 bytes instead of 16, since there may be millions.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub(super) struct Event {
    /// Nanoseconds, like all times in a queue: half the size of a [`Duration`].
    pub(super) at: u64,
    /// Zero if there is none.
    source_port: u16,
    has_source_port: bool,
    pub(super) offset: u8,
}

impl Event {
    fn is_over(&self, now: u64, timeout: u64) -> bool {
        self.at.saturating_add(timeout) < now
    }

    pub(super) fn source_port(&self) -> Option<u16> {
        self.has_source_port.then_some(self.source_port)
    }
}

impl From<&Syn> for Event {
    fn from(syn: &Syn) -> Self {
        Self {
            at: nanoseconds(syn.at),
            source_port: syn.source_port.unwrap_or_default(),
            has_source_port: syn.source_port.is_some(),
            offset: syn.offset,
        }
    }
}

/// `time` in nanoseconds. A `u64` is enough for 584 years of uptime.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Default for Queue {
    fn default() -> Self {
        Self::Few(ArrayVec::new())
    }
}

impl Queue {
    pub(super) fn events(&self) -> &[Event] {
        match self {
            Self::Few(events) => events,
            Self::Many { events, .. } => events,
        }
    }

    /// The times of the first and the last event. Reading them loads both ends of the queue into
    /// the cache.
    pub(super) fn ends(&self) -> (Option<u64>, Option<u64>) {
        let at = |event: &Event| event.at;
        let events = self.events();
        (events.first().map(at), events.last().map(at))
    }

    /// Whether all events are older than `timeout` at `now`, both in nanoseconds.
    pub(super) fn is_over(&self, now: u64, timeout: u64) -> bool {
        self.events()
            .last()
            .is_none_or(|event| event.is_over(now, timeout))
    }

    /// Removes the events that are older than `timeout` at `now`, both in nanoseconds.
    pub(super) fn expire(&mut self, now: u64, timeout: u64) {
        let over = self
            .events()
            .iter()
            .take_while(|event| event.is_over(now, timeout))
            .count();
        self.remove_first(over);
    }

    fn remove_first(&mut self, count: usize) {
        match self {
            Self::Few(events) => drop(events.drain(..count)),
            Self::Many { events, .. } => drop(events.drain(..count)),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.events().len()
    }

    /// Inserts `event` by time of arrival, unless it is a retransmission. Returns whether it was
    /// inserted. The receive queues of a network card deliver events slightly out of order.
    pub(super) fn insert(&mut self, event: Event) -> bool {
        let retransmission = event.has_source_port
            && self.events().iter().any(|queued| {
                (queued.source_port(), queued.offset) == (event.source_port(), event.offset)
            });
        if retransmission {
            return false;
        }
        if self.events().len() == MAX_EVENTS {
            self.remove_first(1);
        }
        let events = self.events();
        let later = events
            .iter()
            .rev()
            .take_while(|queued| queued.at > event.at);
        let place = events.len() - later.count();
        match self {
            Self::Few(events) if events.is_full() => {
                let mut events = events.to_vec();
                events.insert(place, event);
                *self = Self::Many {
                    events,
                    attempts: 0,
                    rank: 0,
                };
            }
            Self::Few(events) => events.insert(place, event),
            Self::Many { events, .. } => events.insert(place, event),
        }
        true
    }

    /// Removes the events up to time `until`, which belong to an accepted knock or came before its
    /// end. Returns whether none is left.
    pub(super) fn accept(&mut self, until: u64) -> bool {
        let over = self.events().iter().take_while(|event| event.at <= until);
        self.remove_first(over.count());
        if let Self::Many { rank, .. } = self {
            *rank = 0;
        }
        self.events().is_empty()
    }

    /// The blocks that `event`, which was just inserted, completes.
    pub(super) fn candidates(&mut self, event: &Event) -> Candidates {
        let Self::Many {
            events,
            attempts,
            rank,
        } = self
        else {
            return Candidates::default();
        };
        if events.len() < BLOCK_LEN {
            return Candidates::default();
        }
        let mut candidates = Candidates::default();
        let found = &mut candidates.blocks;
        for run in by_arrival(events)
            .into_iter()
            .chain(by_source_port(events, event))
        {
            if found.iter().all(|candidate| candidate.block != run.block) {
                found.push(Candidate {
                    block: run.block,
                    since: Duration::from_nanos(run.since),
                    until: Duration::from_nanos(run.until),
                    rank: 0,
                });
            }
        }
        let total = found.len();
        let mut affordable = 0;
        for candidate in found.iter_mut() {
            let Some(left) = ATTEMPTS.take(*attempts, event.at) else {
                break;
            };
            *attempts = left;
            candidate.rank = *rank;
            *rank = rank.saturating_add(1);
            affordable += 1;
        }
        found.truncate(affordable);
        candidates.limited = total - affordable;
        candidates
    }
}

/// 16 events in the order of a block.
struct Run {
    block: Block,
    /// The times of the first and the last of them.
    since: u64,
    until: u64,
}

/// The last 16 of `events` in arrival order.
fn by_arrival(events: &[Event]) -> Option<Run> {
    let last = events.last_chunk::<BLOCK_LEN>()?;
    Some(Run {
        block: Block(last.map(|event| event.offset)),
        since: last[0].at,
        until: last[BLOCK_LEN - 1].at,
    })
}

/// Every run of 16 `events` with consecutive source ports that contains `event`, ordered by source
/// port. Of several events with one source port the latest counts: the client has sent another
/// knock from the same ports.
fn by_source_port(events: &[Event], event: &Event) -> impl Iterator<Item = Run> + use<> {
    const AROUND: usize = 2 * BLOCK_LEN - 1;
    /// The index of `event` itself.
    const MIDDLE: usize = BLOCK_LEN - 1;
    let mut around: [Option<Event>; AROUND] = [None; AROUND];
    if let Some(port) = event.source_port()
        && events.len() >= BLOCK_LEN
    {
        for queued in events {
            let place = queued
                .source_port()
                .and_then(|queued| (usize::from(queued) + MIDDLE).checked_sub(port.into()))
                .filter(|place| *place < AROUND);
            if let Some(place) = place {
                around[place] = Some(*queued);
            }
        }
    }
    // The run that ends with `event` first: SYNs mostly arrive in order.
    (0..BLOCK_LEN).filter_map(move |start| {
        let mut run = Run {
            block: Block([0; BLOCK_LEN]),
            since: u64::MAX,
            until: 0,
        };
        for (byte, event) in run.block.0.iter_mut().zip(&around[start..]) {
            let event = (*event)?;
            *byte = event.offset;
            run.since = run.since.min(event.at);
            run.until = run.until.max(event.at);
        }
        Some(run)
    })
}
