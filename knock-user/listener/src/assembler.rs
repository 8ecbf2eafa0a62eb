//! Assembles single SYNs into blocks that may be a knock (docs/protocol.md, "Assembly on the
//! server").

mod holes;
mod index;
mod lru;
mod queue;
mod sources;

use std::{net::IpAddr, num::NonZeroUsize, time::Duration};

use knockd_types::syn::Syn;

pub use self::queue::{Candidate, Candidates, MAX_EVENTS};
use self::{
    queue::{Event, nanoseconds},
    sources::Sources,
};

/// A SYN with the result of a prefetching look-up, see [`Assembler::sight`].
#[derive(Clone, Copy, Debug)]
pub struct PendingLookup<'a> {
    /// The SYN.
    pub syn: &'a Syn,
    /// The hash of its source, valid in one assembler.
    hash: u64,
    /// The probable slot of its source, if the source is known.
    slot: Option<u32>,
}

/// The SYNs of every source, until they form a knock or expire.
///
/// The number of sources, of events per source, and of attempts per source and second is bounded.
/// A source can affect another source's queue only by evicting it.
#[derive(Debug)]
pub struct Assembler {
    sources: Sources,
    max_sources: NonZeroUsize,
    /// Nanoseconds.
    timeout: u64,
    evicted: u64,
    knocks_with_holes: u64,
}

impl Assembler {
    /// An assembler that drops events after `timeout`, and evicts the least recently seen source
    /// beyond `max_sources`.
    #[must_use]
    pub fn new(timeout: Duration, max_sources: NonZeroUsize) -> Self {
        Self {
            sources: Sources::default(),
            max_sources,
            timeout: nanoseconds(timeout),
            evicted: 0,
            knocks_with_holes: 0,
        }
    }

    /// Changes the limits. Incomplete sequences are kept.
    pub fn set_limits(&mut self, timeout: Duration, max_sources: NonZeroUsize) {
        self.timeout = nanoseconds(timeout);
        self.max_sources = max_sources;
        self.evict_beyond(max_sources.get());
        self.sources.shrink();
    }

    fn evict_beyond(&mut self, most: usize) {
        while self.sources.len() > most {
            self.sources.remove_oldest();
            self.evicted += 1;
        }
    }

    /// Removes all sources.
    pub fn clear(&mut self) {
        self.sources.clear();
    }

    /// Looks up the sources of `syns`, which are pushed next. To look all of them up before the
    /// first push lets their cache misses overlap.
    #[must_use]
    pub fn sight<'a>(&self, syns: &'a [Syn]) -> Vec<PendingLookup<'a>> {
        let hashes: Vec<_> = syns
            .iter()
            .map(|syn| self.sources.hash(&syn.source))
            .collect();
        let slots = self.sources.sight(hashes.iter().copied());
        syns.iter()
            .zip(&hashes)
            .zip(slots)
            .map(|((syn, hash), slot)| PendingLookup {
                syn,
                hash: *hash,
                slot,
            })
            .collect()
    }

    /// Queues `syn` and returns the candidates that it completes; `None` if it is a
    /// retransmission of a queued SYN.
    pub fn push(&mut self, syn: &Syn) -> Option<Candidates> {
        self.push_sighted(PendingLookup {
            syn,
            hash: self.sources.hash(&syn.source),
            slot: None,
        })
    }

    /// Like [`push`](Self::push), for a result of [`sight`](Self::sight) of this assembler.
    pub fn push_sighted(
        &mut self,
        PendingLookup { syn, hash, slot }: PendingLookup<'_>,
    ) -> Option<Candidates> {
        let event = Event::from(syn);
        self.forget_at(event.at);
        let slot = self
            .sources
            .find(&syn.source, hash, slot)
            .unwrap_or_else(|| {
                self.evict_beyond(self.max_sources.get() - 1);
                self.sources.insert(syn.source, hash)
            });
        let queue = self.sources.see(slot);
        queue.expire(event.at, self.timeout);
        queue.insert(event).then(|| queue.candidates(&event))
    }

    /// Removes the events of `source` up to time `until`, that of the last SYN of a block that was
    /// accepted.
    pub fn accept(&mut self, source: &IpAddr, until: Duration) {
        self.sources.accept(source, nanoseconds(until));
    }

    /// Removes the sources without an event since `now` minus the timeout.
    pub fn forget(&mut self, now: Duration) {
        self.forget_at(nanoseconds(now));
    }

    fn forget_at(&mut self, now: u64) {
        let before = self.sources.len();
        while let Some(queue) = self.sources.oldest()
            && queue.is_over(now, self.timeout)
        {
            self.knocks_with_holes += holes::count(queue.events());
            self.sources.remove_oldest();
        }
        if self.sources.len() < before {
            self.sources.shrink();
        }
    }

    /// The number of sources with queued events.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// The number of sources that were evicted to make room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The number of knocks of which only a part had arrived when it expired, with holes between
    /// the source ports.
    #[must_use]
    pub fn knocks_with_holes(&self) -> u64 {
        self.knocks_with_holes
    }
}

#[cfg(test)]
mod tests;
