//! The order in which the sources were seen last (LRU).

use std::{collections::VecDeque, hint::black_box, mem};

/// Vacant places that are allowed in addition to the number of sources, so that few sources do not
/// cause constant compaction.
const SPARE: usize = 1024;

/// Marks a vacant place.
const VACANT: u32 = u32::MAX;

/// The slots of the sources, the least recently seen first. A source that is seen again moves to
/// the end and leaves a vacant place. A linked list would have to update two neighbours, each of
/// them a cache miss.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The first place is not vacant.
    places: VecDeque<u32>,
    /// The number of the first place. Numbers wrap around; there are more numbers than places.
    first: u32,
    /// The number of the place after the last one.
    next: u32,
}

impl Order {
    /// Appends `slot` and returns the number of its place.
    pub(super) fn push(&mut self, slot: u32) -> u32 {
        let number = self.next;
        self.places.push_back(slot);
        self.next = number.wrapping_add(1);
        number
    }

    /// Vacates the place with this number.
    pub(super) fn vacate(&mut self, number: u32) {
        let place = self.place(number);
        self.places[place] = VACANT;
        while self.places.front() == Some(&VACANT) {
            self.places.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    fn place(&self, number: u32) -> usize {
        number.wrapping_sub(self.first) as usize
    }

    /// Loads the place with this number into the cache.
    pub(super) fn touch(&self, number: u32) {
        black_box(self.places.get(self.place(number)).copied());
    }

    /// The slot of the least recently seen source.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.places.front().copied()
    }

    /// Whether most places are vacant, given the number of `sources`.
    pub(super) fn is_sparse(&self, sources: usize) -> bool {
        self.places.len() > 2 * sources + SPARE
    }

    /// Removes the vacant places. The others get new numbers: `renumber` is called with each slot
    /// and its new number.
    pub(super) fn close_up(&mut self, mut renumber: impl FnMut(u32, u32)) {
        let before = mem::take(self);
        for slot in before.into_slots() {
            renumber(slot, self.push(slot));
        }
    }

    /// All slots, the least recently seen source first.
    pub(super) fn into_slots(self) -> impl Iterator<Item = u32> {
        self.places.into_iter().filter(|slot| *slot != VACANT)
    }
}

#[cfg(test)]
mod tests {
    use std::array;

    use super::*;

    #[test]
    fn an_unmoved_source_becomes_the_oldest_and_vacant_places_are_bounded() {
        let most = 2 * 3 + SPARE + 1;
        let mut order = Order {
            first: u32::MAX - 7,
            next: u32::MAX - 7,
            ..Order::default()
        };
        let mut numbers: [u32; 3] = array::from_fn(|slot| order.push(u32::try_from(slot).unwrap()));
        for _ in 0..2 * SPARE {
            for slot in [2, 1] {
                order.vacate(numbers[slot as usize]);
                numbers[slot as usize] = order.push(slot);
                if order.is_sparse(3) {
                    order.close_up(|slot, number| numbers[slot as usize] = number);
                    assert_eq!(order.places.len(), 3);
                }
                assert!(order.places.len() <= most);
                assert_eq!(order.oldest(), Some(0));
            }
        }
        order.vacate(numbers[0]);
        assert_eq!(order.oldest(), Some(2));
        assert_eq!(order.into_slots().collect::<Vec<_>>(), [2, 1]);
    }
}
