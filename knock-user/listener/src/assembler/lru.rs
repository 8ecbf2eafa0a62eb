//! In which order the sources were seen.

use std::{collections::VecDeque, hint::black_box, mem};

/// Places that may be left besides as many as there are sources, so that few sources do not have
/// it put in order all the time.
const SPARE: usize = 1024;

/// A place that its source has left.
const LEFT: u32 = u32::MAX;

/// The sources' slots, the least recently seen first. Whoever is seen again goes to the end and
/// leaves a place behind. In a list with links he would have neighbours, who may be anywhere in
/// memory and would have to be told.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The first was not left.
    places: VecDeque<u32>,
    /// The number of the first place. There are fewer places than numbers, which begin again
    /// after the last.
    first: u32,
    /// The number of the place behind the last.
    next: u32,
}

impl Order {
    /// The number of the place that `slot` has from now on, at the end.
    pub(super) fn push(&mut self, slot: u32) -> u32 {
        let number = self.next;
        self.places.push_back(slot);
        self.next = number.wrapping_add(1);
        number
    }

    /// Leaves the place with this number.
    pub(super) fn leave(&mut self, number: u32) {
        let place = self.place(number);
        self.places[place] = LEFT;
        while self.places.front() == Some(&LEFT) {
            self.places.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    fn place(&self, number: u32) -> usize {
        number.wrapping_sub(self.first) as usize
    }

    /// Has the place with this number brought near.
    pub(super) fn touch(&self, number: u32) {
        black_box(self.places.get(self.place(number)).copied());
    }

    /// The slot of the source that was seen least recently.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.places.front().copied()
    }

    /// Whether most places were left by one of `sources`.
    pub(super) fn is_sparse(&self, sources: usize) -> bool {
        self.places.len() > 2 * sources + SPARE
    }

    /// Gives up the places that were left. The others have new numbers: `tell` is called with each
    /// slot and its number.
    pub(super) fn close_up(&mut self, mut tell: impl FnMut(u32, u32)) {
        let before = mem::take(self);
        for slot in before.into_slots() {
            tell(slot, self.push(slot));
        }
    }

    /// Every slot, that of the least recently seen source first.
    pub(super) fn into_slots(self) -> impl Iterator<Item = u32> {
        self.places.into_iter().filter(|slot| *slot != LEFT)
    }
}

#[cfg(test)]
mod tests {
    use std::array;

    use super::*;

    #[test]
    fn who_stays_is_the_oldest_and_the_places_behind_are_bounded() {
        let most = 2 * 3 + SPARE + 1;
        let mut order = Order {
            first: u32::MAX - 7,
            next: u32::MAX - 7,
            ..Order::default()
        };
        let mut numbers: [u32; 3] = array::from_fn(|slot| order.push(u32::try_from(slot).unwrap()));
        for _ in 0..2 * SPARE {
            for slot in [2, 1] {
                order.leave(numbers[slot as usize]);
                numbers[slot as usize] = order.push(slot);
                if order.is_sparse(3) {
                    order.close_up(|slot, number| numbers[slot as usize] = number);
                    assert_eq!(order.places.len(), 3);
                }
                assert!(order.places.len() <= most);
                assert_eq!(order.oldest(), Some(0));
            }
        }
        order.leave(numbers[0]);
        assert_eq!(order.oldest(), Some(2));
        assert_eq!(order.into_slots().collect::<Vec<_>>(), [2, 1]);
    }
}
