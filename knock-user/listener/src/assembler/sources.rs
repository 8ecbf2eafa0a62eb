//! The queues of all sources: found by address, and ordered by the time of the last event.

use std::{
    hash::{BuildHasher as _, RandomState},
    hint::black_box,
    mem,
    net::IpAddr,
};

use slab::Slab;

use crate::assembler::{index::Index, lru::Order, queue::Queue};

/// The capacity from which unused memory is released.
const MANY: usize = 1024;

/// The sources in a slab, the index of their addresses, and their order.
#[derive(Debug, Default)]
pub(super) struct Sources {
    index: Index,
    sources: Slab<Source>,
    order: Order,
    /// Randomly seeded, since an attacker chooses the addresses.
    hasher: RandomState,
}

/// One source: two cache lines, plus the heap if the queue has more than 8 events.
#[derive(Debug)]
#[repr(align(64))]
struct Source {
    address: IpAddr,
    queue: Queue,
    /// The number of its place in the order.
    seen: u32,
}

const _: () = assert!(size_of::<Source>() == 128);

impl Sources {
    pub(super) fn len(&self) -> usize {
        self.sources.len()
    }

    pub(super) fn clear(&mut self) {
        self.index = Index::default();
        self.sources = Slab::new();
        self.order = Order::default();
    }

    pub(super) fn hash(&self, address: &IpAddr) -> u64 {
        match address {
            IpAddr::V4(address) => self.hasher.hash_one(address.to_bits()),
            IpAddr::V6(address) => self.hasher.hash_one(address.to_bits()),
        }
    }

    /// The probable slots of the sources with these hashes. Loads them into the cache, one step
    /// at a time for all of them, so that their cache misses overlap.
    pub(super) fn sight(
        &self,
        hashes: impl Iterator<Item = u64> + Clone,
    ) -> impl Iterator<Item = Option<u32>> {
        for hash in hashes.clone() {
            self.index.touch(hash);
        }
        hashes.map(|hash| {
            let slot = self.index.find(hash, |_| true)?;
            if let Some(source) = self.sources.get(slot as usize) {
                black_box((source.address, source.queue.ends()));
                self.order.touch(source.seen);
            }
            Some(slot)
        })
    }

    /// The queue of the least recently seen source.
    pub(super) fn oldest(&self) -> Option<&Queue> {
        let slot = self.order.oldest()?;
        Some(&self.sources[slot as usize].queue)
    }

    /// Removes the least recently seen source.
    pub(super) fn remove_oldest(&mut self) {
        if let Some(slot) = self.order.oldest() {
            let hash = self.hash(&self.sources[slot as usize].address);
            self.take(slot, hash);
        }
    }

    /// Removes the events of the source at `address` up to time `until`, and the source if none is
    /// left.
    pub(super) fn accept(&mut self, address: &IpAddr, until: u64) {
        let hash = self.hash(address);
        if let Some(slot) = self.find(address, hash, None)
            && self.sources[slot as usize].queue.accept(until)
        {
            self.take(slot, hash);
        }
    }

    fn take(&mut self, slot: u32, hash: u64) {
        let source = self.sources.remove(slot as usize);
        self.index.remove(hash, slot);
        self.order.vacate(source.seen);
    }

    /// The slot of `address` with hash `hash`. `sighted` is its probable slot.
    pub(super) fn find(&self, address: &IpAddr, hash: u64, sighted: Option<u32>) -> Option<u32> {
        let is_it = |slot| {
            let source = self.sources.get(slot as usize);
            source.is_some_and(|source| source.address == *address)
        };
        sighted
            .filter(|slot| is_it(*slot))
            .or_else(|| self.index.find(hash, is_it))
    }

    /// Inserts the new `address` with hash `hash` and an empty queue. Returns its slot.
    pub(super) fn insert(&mut self, address: IpAddr, hash: u64) -> u32 {
        self.put(address, Queue::default(), hash)
    }

    fn put(&mut self, address: IpAddr, queue: Queue, hash: u64) -> u32 {
        let entry = self.sources.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("memory limits the number of sources");
        let seen = self.order.push(slot);
        entry.insert(Source {
            address,
            queue,
            seen,
        });
        self.index.insert(hash, slot);
        slot
    }

    /// The queue in `slot`. Its source becomes the most recently seen one.
    pub(super) fn see(&mut self, slot: u32) -> &mut Queue {
        if self.order.is_sparse(self.sources.len()) {
            self.order
                .close_up(|slot, number| self.sources[slot as usize].seen = number);
        }
        let source = &mut self.sources[slot as usize];
        self.order.vacate(source.seen);
        source.seen = self.order.push(slot);
        &mut source.queue
    }

    /// Releases memory if most of it is unused.
    pub(super) fn shrink(&mut self) {
        let capacity = self.sources.capacity();
        if capacity < MANY || self.len() > capacity / 8 {
            return;
        }
        let mut sources = mem::take(&mut self.sources);
        let order = mem::take(&mut self.order);
        self.index = Index::default();
        for slot in order.into_slots() {
            let Source { address, queue, .. } = sources.remove(slot as usize);
            let hash = self.hash(&address);
            self.put(address, queue, hash);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> (usize, usize) {
        (self.sources.capacity(), self.index.capacity())
    }
}
