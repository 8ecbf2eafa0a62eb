//! A hash table from addresses to slots.

use std::{hint::black_box, iter, mem};

/// A hash table in which a look-up usually touches a single cache line. With a million sources
/// each touched line is a cache miss. A table that stores its control bytes apart from its slots,
/// such as hashbrown, has two dependent misses.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The length is a power of two, or zero. An entry whose line is full is in the next line with
    /// a free place (linear probing).
    lines: Vec<Line>,
    /// The number of entries: at most three quarters of the places.
    len: usize,
}

/// Places per line, which are compared together.
const WIDTH: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line {
    hashes: [u32; WIDTH],
    slots: [u32; WIDTH],
}

/// The hash in a free place. [`short`] never returns it.
const FREE: u32 = 0;

/// The stored part of a hash. It is enough to find the line in a table of any size, so growing
/// needs no rehashing.
fn short(hash: u64) -> u32 {
    const TAKEN: u32 = 1 << 31;
    let upper = u32::try_from(hash >> 32).unwrap_or_default();
    upper | TAKEN
}

impl Line {
    /// The places with `hash`. Without a branch per place, which would often be mispredicted.
    fn places(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let mut bits = (0..WIDTH).fold(0, |bits, place| {
            bits | u32::from(self.hashes[place] == hash) << place
        });
        iter::from_fn(move || {
            let place = bits.trailing_zeros() as usize;
            bits &= bits.wrapping_sub(1);
            (place < WIDTH).then_some(place)
        })
    }

    fn is_full(&self) -> bool {
        self.places(FREE).next().is_none()
    }
}

impl Index {
    /// The first slot under `hash` for which `is_it` is true. Collisions are rare.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = short(hash);
        for line in self.from(hash).map(|line| &self.lines[line]) {
            let mut slots = line.places(hash).map(|place| line.slots[place]);
            let found = slots.find(|slot| is_it(*slot));
            if found.is_some() || !line.is_full() {
                return found;
            }
        }
        None
    }

    /// The probe sequence of `hash`: all lines, in order.
    fn from(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let lines = self.lines.len();
        (0..lines).map(move |step| (hash as usize).wrapping_add(step) & (lines - 1))
    }

    /// Loads the line of `hash` into the cache.
    pub(super) fn touch(&self, hash: u64) {
        if let Some(line) = self.from(short(hash)).next() {
            black_box(self.lines[line].hashes[0]);
        }
    }

    /// Inserts `slot`, which must not be in the table, under `hash`.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        if (self.len + 1) * 4 > self.lines.len() * WIDTH * 3 {
            self.grow();
        }
        self.put(short(hash), slot);
        self.len += 1;
    }

    fn put(&mut self, hash: u32, slot: u32) {
        for line in self.from(hash) {
            let line = &mut self.lines[line];
            if let Some(place) = line.places(FREE).next() {
                line.hashes[place] = hash;
                line.slots[place] = slot;
                return;
            }
        }
    }

    fn grow(&mut self) {
        let lines = (2 * self.lines.len()).max(1);
        for line in mem::replace(&mut self.lines, vec![Line::default(); lines]) {
            for (hash, slot) in line.hashes.into_iter().zip(line.slots) {
                if hash != FREE {
                    self.put(hash, slot);
                }
            }
        }
    }

    /// Removes `slot`, which is under `hash`.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let hash = short(hash);
        let mut hole = None;
        for at in self.from(hash) {
            let line = &self.lines[at];
            let was_full = line.is_full();
            let leaves = match hole {
                None => line.places(hash).find(|place| line.slots[*place] == slot),
                Some((hole, _)) => self.beyond(hole, at),
            };
            if let Some(place) = leaves {
                self.fill(hole, (at, place));
                hole = Some((at, place));
            }
            if !was_full {
                break;
            }
        }
        if let Some((line, place)) = hole {
            self.lines[line].hashes[place] = FREE;
            self.len -= 1;
        }
    }

    /// A place in line `at` whose entry could not be found if line `hole` had a free place.
    fn beyond(&self, hole: usize, at: usize) -> Option<usize> {
        let back = |line: usize| at.wrapping_sub(line) & (self.lines.len() - 1);
        let hashes = self.lines[at].hashes;
        hashes
            .iter()
            .position(|hash| *hash != FREE && back(*hash as usize) >= back(hole))
    }

    /// Moves the entry at `from` into the hole, if there is one.
    fn fill(&mut self, hole: Option<(usize, usize)>, from: (usize, usize)) {
        if let Some((line, place)) = hole {
            self.lines[line].hashes[place] = self.lines[from.0].hashes[from.1];
            self.lines[line].slots[place] = self.lines[from.0].slots[from.1];
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.lines.len() * WIDTH
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A hash in one of a few lines of a table of any size, with two hashes per line.
    fn hash() -> impl Strategy<Value = u64> {
        (
            prop_oneof![0_u64..3, 0x0fff_fffe..0x1000_0000_u64],
            0_u64..2,
        )
            .prop_map(|(line, which)| (line | which << 28) << 32)
    }

    proptest! {
        #[test]
        fn slots_come_and_go_as_in_a_plain_list(
            steps in prop::collection::vec((hash(), prop::option::of(any::<prop::sample::Index>())), 0..300),
        ) {
            let mut index = Index::default();
            let mut plain: Vec<(u64, u32)> = Vec::new();
            for (slot, (hash, leaves)) in (0..).zip(steps) {
                match leaves {
                    Some(leaves) if !plain.is_empty() => {
                        let (hash, slot) = plain.swap_remove(leaves.index(plain.len()));
                        index.remove(hash, slot);
                        prop_assert_eq!(index.find(hash, |found| found == slot), None);
                    }
                    _ => {
                        index.insert(hash, slot);
                        plain.push((hash, slot));
                    }
                }
                prop_assert_eq!(index.len, plain.len());
                for (hash, slot) in &plain {
                    prop_assert_eq!(index.find(*hash, |found| found == *slot), Some(*slot));
                }
            }
        }
    }
}
