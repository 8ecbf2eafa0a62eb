//! Every source's queue, found by its address and kept in the order in which they were seen.

use std::{
    hash::{BuildHasher as _, RandomState},
    hint::black_box,
    net::IpAddr,
};

use hashbrown::HashTable;
use lru_slab::LruSlab;

use super::queue::Queue;

/// Slots from which on memory is given back.
const MANY: u32 = 1024;

/// The queues in one piece of memory, and a table of their slots.
#[derive(Debug, Default)]
pub(super) struct Sources {
    slots: HashTable<u32>,
    slab: LruSlab<Source>,
    /// An attacker chooses the addresses: hence a hasher that he cannot predict.
    hasher: RandomState,
}

#[derive(Debug)]
struct Source {
    address: IpAddr,
    queue: Queue,
}

impl Sources {
    pub(super) fn len(&self) -> usize {
        self.slab.len() as usize
    }

    pub(super) fn clear(&mut self) {
        self.slots = HashTable::new();
        self.slab = LruSlab::new();
    }

    pub(super) fn hash(&self, address: &IpAddr) -> u64 {
        self.hasher.hash_one(address)
    }

    /// Has what is known of the sources with these hashes brought near. Among many sources
    /// each step to a queue waits for memory; step by step for all, they wait together.
    pub(super) fn bring_near(&self, hashes: impl Iterator<Item = u64> + Clone) {
        for hash in hashes.clone() {
            black_box(self.slots.find(hash, |slot| black_box(*slot) == u32::MAX));
        }
        for hash in hashes {
            // Another source with the same bits is as good: this is about time alone.
            if let Some(slot) = self.slots.find(hash, |_| true) {
                let source = self.slab.peek(*slot);
                black_box((source.address, source.queue.ends()));
            }
        }
    }

    /// The queue of the source that was seen least recently.
    pub(super) fn oldest(&self) -> Option<&Queue> {
        let slot = self.slab.lru()?;
        Some(&self.slab.peek(slot).queue)
    }

    /// Takes out the source that was seen least recently.
    pub(super) fn remove_oldest(&mut self) {
        if let Some(slot) = self.slab.lru() {
            let source = self.slab.remove(slot);
            let hash = self.hash(&source.address);
            if let Ok(entry) = self.slots.find_entry(hash, |found| *found == slot) {
                entry.remove();
            }
        }
    }

    /// Takes out the source at `address`.
    pub(super) fn remove(&mut self, address: &IpAddr) {
        let hash = self.hash(address);
        let is_it = |slot: &u32| self.slab.peek(*slot).address == *address;
        if let Ok(entry) = self.slots.find_entry(hash, is_it) {
            let (slot, _) = entry.remove();
            self.slab.remove(slot);
        }
    }

    /// The slot of `address`, whose hash is `hash`.
    pub(super) fn find(&self, address: &IpAddr, hash: u64) -> Option<u32> {
        let is_it = |slot: &u32| self.slab.peek(*slot).address == *address;
        self.slots.find(hash, is_it).copied()
    }

    /// The slot, with an empty queue, of `address`, which is new and whose hash is `hash`.
    pub(super) fn insert(&mut self, address: IpAddr, hash: u64) -> u32 {
        let queue = Queue::default();
        self.put(Source { address, queue }, hash)
    }

    /// The queue in `slot`, as that of the source that was seen last.
    pub(super) fn see(&mut self, slot: u32) -> &mut Queue {
        &mut self.slab.get_mut(slot).queue
    }

    fn put(&mut self, source: Source, hash: u64) -> u32 {
        let slot = self.slab.insert(source);
        self.slots.insert_unique(hash, slot, |slot| {
            self.hasher.hash_one(self.slab.peek(*slot).address)
        });
        slot
    }

    /// Gives memory back if most of it is not used any more.
    pub(super) fn shrink(&mut self) {
        let capacity = self.slab.capacity();
        if capacity < MANY || self.slab.len() > capacity / 8 {
            return;
        }
        let mut before = std::mem::take(&mut self.slab);
        self.slots = HashTable::new();
        while let Some(slot) = before.lru() {
            let source = before.remove(slot);
            let hash = self.hash(&source.address);
            self.put(source, hash);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> (usize, usize) {
        (self.slab.capacity() as usize, self.slots.capacity())
    }
}
