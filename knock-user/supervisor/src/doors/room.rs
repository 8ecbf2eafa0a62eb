//! Room for open doors, shared among the clients.
//!
//! A recorded classic knock opens its door for every address that it is sent from. Whoever replays it
//! from many addresses must not keep others out.

use std::{collections::HashMap, num::NonZeroUsize};

use knockd_types::names::BY_HAND_NUMBER;

/// One in this many places is for the administrator alone.
const BY_HAND: usize = 16;

/// One in this many places is for clients that have no door open.
const NEWCOMERS: usize = 4;

/// A client may have one in this many places at one door.
const SHARE: usize = 4;

/// How many doors may be open, and how many are.
#[derive(Debug)]
pub(super) struct Room {
    places: NonZeroUsize,
    taken: usize,
    /// The places that a client has.
    clients: HashMap<usize, usize>,
    /// The places that a client has at a door.
    shares: HashMap<(usize, usize), usize>,
}

impl Room {
    /// An empty room with this number of places.
    pub(super) fn new(places: NonZeroUsize) -> Self {
        Self {
            places,
            taken: 0,
            clients: HashMap::new(),
            shares: HashMap::new(),
        }
    }

    /// Changes the number of places. Those that are taken stay taken.
    pub(super) fn resize(&mut self, places: NonZeroUsize) {
        self.places = places;
    }

    /// Whether `client` can have one more place at `door`.
    pub(super) fn has_place(&self, client: usize, door: usize) -> bool {
        let places = self.places.get();
        if client == BY_HAND_NUMBER as usize {
            return self.taken < places;
        }
        let places_for_clients = places - places / BY_HAND;
        if !self.clients.contains_key(&client) {
            return self.taken < places_for_clients;
        }
        let share = self.shares.get(&(client, door)).copied();
        self.taken < places_for_clients - places / NEWCOMERS
            && share.unwrap_or_default() < places.div_ceil(SHARE)
    }

    /// Whether no place is taken.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0 && self.clients.is_empty() && self.shares.is_empty()
    }

    /// Takes a place, whether or not there is one.
    pub(super) fn take(&mut self, client: usize, door: usize) {
        self.taken += 1;
        *self.clients.entry(client).or_default() += 1;
        *self.shares.entry((client, door)).or_default() += 1;
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self, client: usize, door: usize) {
        self.taken -= 1;
        remove_one(&mut self.clients, &client);
        remove_one(&mut self.shares, &(client, door));
    }
}

fn remove_one<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMINISTRATOR: usize = BY_HAND_NUMBER as usize;

    fn room(places: usize) -> Room {
        Room::new(NonZeroUsize::new(places).unwrap())
    }

    /// Takes places until there is none, and returns their number.
    fn fill(room: &mut Room, client: usize, door: usize) -> usize {
        let mut taken = 0;
        while room.has_place(client, door) {
            room.take(client, door);
            taken += 1;
        }
        taken
    }

    #[test]
    fn nobody_can_fill_the_room() {
        let mut room = room(64);
        assert_eq!(fill(&mut room, 1, 1), 16, "a share");
        assert_eq!(fill(&mut room, 1, 2), 16, "a share of another door");
        assert_eq!(fill(&mut room, 2, 1), 12, "all but the reserves");
        assert_eq!(fill(&mut room, 1, 3), 0);
        for newcomer in 3..19 {
            assert_eq!(fill(&mut room, newcomer, 1), 1, "{newcomer}");
        }
        assert_eq!(fill(&mut room, 19, 1), 0);
        assert_eq!(fill(&mut room, ADMINISTRATOR, 1), 4);
        room.leave(1, 1);
        assert!(room.has_place(ADMINISTRATOR, 1) && !room.has_place(19, 1));
        for _ in 0..4 {
            room.leave(ADMINISTRATOR, 1);
        }
        assert!(room.has_place(19, 1) && !room.has_place(1, 1));
    }

    #[test]
    fn a_small_room_has_a_place_for_everybody() {
        let mut room = room(1);
        assert!(room.has_place(1, 1) && room.has_place(ADMINISTRATOR, 1));
        room.take(1, 1);
        assert!(!room.has_place(2, 1) && !room.has_place(ADMINISTRATOR, 1));
        room.leave(1, 1);
        assert!(room.has_place(2, 1) && room.is_empty());
    }

    #[test]
    fn a_smaller_room_admits_nobody_until_there_is_a_place() {
        let mut room = room(64);
        fill(&mut room, 1, 1);
        room.resize(NonZeroUsize::MIN);
        assert!(!room.has_place(2, 1) && !room.has_place(ADMINISTRATOR, 1));
    }
}
