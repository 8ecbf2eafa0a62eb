//! From single SYNs to blocks that may be a knock (README.md, "How the daemon assembles").

mod index;
mod lru;
mod queue;
mod sources;

use std::{net::IpAddr, num::NonZeroUsize, time::Duration};

pub use self::queue::Candidates;
use self::{
    queue::{Event, nanoseconds},
    sources::Sources,
};
use knockd_types::syn::Syn;

/// A knock that is about to be pushed, see [`Assembler::sight`].
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// What was sighted.
    pub knock: &'a Syn,
    /// Of its source, in one assembler.
    hash: u64,
    /// Where its source probably is, if it is known.
    slot: Option<u32>,
}

/// The SYNs of every source, until they make a knock or grow old.
///
/// Bounded in sources, in events per source and in attempts per source and second. One
/// source never affects another's queue but by being seen more recently.
#[derive(Debug)]
pub struct Assembler {
    sources: Sources,
    max_sources: NonZeroUsize,
    /// Nanoseconds.
    timeout: u64,
    evicted: u64,
}

impl Assembler {
    /// An assembler that forgets events after `timeout` and the least recently seen source
    /// beyond `max_sources`.
    #[must_use]
    pub fn new(timeout: Duration, max_sources: NonZeroUsize) -> Self {
        Self {
            sources: Sources::default(),
            max_sources,
            timeout: nanoseconds(timeout),
            evicted: 0,
        }
    }

    /// Goes over to other bounds; what is in progress stays so.
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

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.sources.clear();
    }

    /// Looks for the sources of `knocks`, which are to be pushed next, all at once, so that among
    /// many sources their waits for memory overlap.
    #[must_use]
    pub fn sight<'a>(&self, knocks: &'a [Syn]) -> Vec<Sighting<'a>> {
        let hashes: Vec<_> = knocks
            .iter()
            .map(|knock| self.sources.hash(&knock.source))
            .collect();
        let slots = self.sources.sight(hashes.iter().copied());
        knocks
            .iter()
            .zip(&hashes)
            .zip(slots)
            .map(|((knock, hash), slot)| Sighting {
                knock,
                hash: *hash,
                slot,
            })
            .collect()
    }

    /// Queues `knock` and returns what it completes; `None` if it is a retransmission of one
    /// that is queued already.
    pub fn push(&mut self, knock: &Syn) -> Option<Candidates> {
        self.push_sighted(Sighting {
            knock,
            hash: self.sources.hash(&knock.source),
            slot: None,
        })
    }

    /// Queues a knock like [`push`](Self::push), from [`sight`](Self::sight) of this assembler.
    pub fn push_sighted(
        &mut self,
        Sighting { knock, hash, slot }: Sighting<'_>,
    ) -> Option<Candidates> {
        let event = Event::from(knock);
        self.forget_at(event.at);
        let slot = self
            .sources
            .find(&knock.source, hash, slot)
            .unwrap_or_else(|| {
                self.evict_beyond(self.max_sources.get() - 1);
                self.sources.insert(knock.source, hash)
            });
        let queue = self.sources.see(slot);
        queue.expire(event.at, self.timeout);
        queue.insert(event).then(|| queue.candidates(&event))
    }

    /// Clears the queue of `source`, one of whose candidates was accepted.
    pub fn accept(&mut self, source: &IpAddr) {
        self.sources.remove(source);
    }

    /// Forgets the sources that were last heard of before `now` minus the timeout.
    pub fn forget(&mut self, now: Duration) {
        self.forget_at(nanoseconds(now));
    }

    fn forget_at(&mut self, now: u64) {
        let before = self.sources.len();
        while let Some(queue) = self.sources.oldest()
            && queue.is_over(now, self.timeout)
        {
            self.sources.remove_oldest();
        }
        if self.sources.len() < before {
            self.sources.shrink();
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

#[cfg(test)]
mod tests;
