//! From single SYNs to blocks that may be a knock (README.md, "How the daemon assembles").

use std::{
    collections::VecDeque,
    hash::RandomState,
    net::IpAddr,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use arrayvec::ArrayVec;
use knock_common::{
    protocol::block::{BLOCK_LEN, Block},
    rate::Rate,
};
use lru::LruCache;

use super::knock::Knock;

/// Events kept per source: four knocks' worth, so that a knock survives the noise that its
/// source sends meanwhile.
pub const MAX_EVENTS: usize = 64;

/// Candidates that one event can complete: the last 16 events, and every run of 16
/// consecutive source ports that the event's own port is part of.
const MAX_CANDIDATES: usize = 1 + BLOCK_LEN;

/// Blocks from one source that are tried against the keys: 256 a second, four times what
/// one source's events can complete under the kernel's default rate.
const ATTEMPTS: Rate = {
    let (Some(per_second), Some(burst)) = (NonZeroU32::new(256), NonZeroU32::new(256)) else {
        panic!("both are above zero")
    };
    Rate::new(per_second, burst)
};

/// What one event completes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// Blocks to try against every key, the likeliest first; often none.
    pub blocks: ArrayVec<Block, MAX_CANDIDATES>,
    /// Blocks that were left out because the source has tried too many.
    pub limited: usize,
}

/// The SYNs of every source, until they make a knock or grow old.
///
/// Bounded in sources, in events per source and in attempts per source and second. One
/// source never affects another's queue but by being seen more recently.
#[derive(Debug)]
pub struct Assembler {
    /// Keyed by addresses that an attacker chooses: hence a hasher that he cannot predict.
    sources: LruCache<IpAddr, Queue, RandomState>,
    max_sources: NonZeroUsize,
    timeout: Duration,
    evicted: u64,
}

#[derive(Debug, Default)]
struct Queue {
    /// By arrival.
    events: VecDeque<Event>,
    /// The bucket of [`ATTEMPTS`].
    attempts: u64,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    /// Nanoseconds, like all times of a queue: half of what a [`Duration`] takes, of which there
    /// may be millions.
    at: u64,
    source_port: Option<u16>,
    offset: u8,
}

impl Event {
    fn is_over(&self, now: u64, timeout: u64) -> bool {
        self.at.saturating_add(timeout) < now
    }
}

/// As nanoseconds, which a `u64` has room for until 584 years after the machine's start.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Assembler {
    /// An assembler that forgets events after `timeout` and the least recently seen source
    /// beyond `max_sources`.
    #[must_use]
    pub fn new(timeout: Duration, max_sources: NonZeroUsize) -> Self {
        Self {
            sources: LruCache::unbounded_with_hasher(RandomState::new()),
            max_sources,
            timeout,
            evicted: 0,
        }
    }

    /// Goes over to other bounds; what is in progress stays so.
    pub fn set_limits(&mut self, timeout: Duration, max_sources: NonZeroUsize) {
        self.timeout = timeout;
        self.max_sources = max_sources;
        self.keep_to_limit();
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.sources.clear();
    }

    /// Queues `knock` and returns what it completes; `None` if it is a retransmission of one
    /// that is queued already.
    pub fn push(&mut self, knock: &Knock) -> Option<Candidates> {
        self.forget(knock.at);
        let queue = self.sources.get_or_insert_mut(knock.source, Queue::default);
        queue.expire(nanoseconds(knock.at), nanoseconds(self.timeout));
        let event = Event {
            at: nanoseconds(knock.at),
            source_port: knock.source_port,
            offset: knock.offset,
        };
        let candidates = queue.insert(event).then(|| queue.candidates(&event));
        // Only now, so that the source is looked up once. It is the last that would go.
        self.keep_to_limit();
        candidates
    }

    /// Clears the queue of `source`, one of whose candidates was accepted.
    pub fn accept(&mut self, source: &IpAddr) {
        self.sources.pop(source);
    }

    /// Forgets the sources that were last heard of before `now` minus the timeout.
    pub fn forget(&mut self, now: Duration) {
        let (now, timeout) = (nanoseconds(now), nanoseconds(self.timeout));
        while let Some((_, queue)) = self.sources.peek_lru()
            && queue
                .events
                .back()
                .is_none_or(|event| event.is_over(now, timeout))
        {
            self.sources.pop_lru();
        }
    }

    fn keep_to_limit(&mut self) {
        while self.sources.len() > self.max_sources.get() {
            self.sources.pop_lru();
            self.evicted += 1;
        }
    }

    /// Sources with events in their queue.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Sources that had to make room for others.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

impl Queue {
    fn expire(&mut self, now: u64, timeout: u64) {
        while self
            .events
            .front()
            .is_some_and(|event| event.is_over(now, timeout))
        {
            self.events.pop_front();
        }
    }

    /// Whether `event` is new; then it has its place by arrival. Several receive queues of
    /// a network card hand events over slightly out of order.
    fn insert(&mut self, event: Event) -> bool {
        let retransmission = event.source_port.is_some()
            && self.events.iter().any(|queued| {
                (queued.source_port, queued.offset) == (event.source_port, event.offset)
            });
        if retransmission {
            return false;
        }
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        let later = self
            .events
            .iter()
            .rev()
            .take_while(|queued| queued.at > event.at);
        let place = self.events.len() - later.count();
        self.events.insert(place, event);
        true
    }

    /// The blocks that `event`, just inserted, completes.
    fn candidates(&mut self, event: &Event) -> Candidates {
        let mut found: ArrayVec<Block, MAX_CANDIDATES> = ArrayVec::new();
        found.extend(self.by_arrival());
        for block in self.by_source_port(event) {
            if !found.contains(&block) {
                found.push(block);
            }
        }
        let affordable = found
            .iter()
            .take_while(|_| match ATTEMPTS.take(self.attempts, event.at) {
                Some(attempts) => {
                    self.attempts = attempts;
                    true
                }
                None => false,
            })
            .count();
        let limited = found.len() - affordable;
        found.truncate(affordable);
        Candidates {
            blocks: found,
            limited,
        }
    }

    /// The last 16 events in arrival order.
    fn by_arrival(&self) -> Option<Block> {
        let first = self.events.len().checked_sub(BLOCK_LEN)?;
        let mut offsets = [0; BLOCK_LEN];
        for (offset, event) in offsets.iter_mut().zip(self.events.range(first..)) {
            *offset = event.offset;
        }
        Some(Block(offsets))
    }

    /// Every 16 events with consecutive source ports that `event` is one of, in
    /// source-port order. Of several events with one source port the latest counts: a
    /// client that knocks again from the same ports means its new knock.
    fn by_source_port(&self, event: &Event) -> impl Iterator<Item = Block> {
        const AROUND: usize = 2 * BLOCK_LEN - 1;
        /// The place of `event` itself.
        const MIDDLE: usize = BLOCK_LEN - 1;
        let mut offsets: [Option<u8>; AROUND] = [None; AROUND];
        if let Some(port) = event.source_port
            && self.events.len() >= BLOCK_LEN
        {
            for queued in &self.events {
                let place = queued
                    .source_port
                    .and_then(|queued| (usize::from(queued) + MIDDLE).checked_sub(port.into()))
                    .filter(|place| *place < AROUND);
                if let Some(place) = place {
                    offsets[place] = Some(queued.offset);
                }
            }
        }
        // The run that ends with `event` first: SYNs mostly arrive in order.
        (0..BLOCK_LEN).filter_map(move |start| {
            let mut block = [0; BLOCK_LEN];
            for (byte, offset) in block.iter_mut().zip(&offsets[start..]) {
                *byte = (*offset)?;
            }
            Some(Block(block))
        })
    }
}

#[cfg(test)]
mod tests;
