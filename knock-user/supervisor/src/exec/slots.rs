//! The slots in which commands run, shared among doors and clients.
//!
//! A slow command must not delay the commands of other doors, and no `run` command ever delays a
//! `close` command.

use std::{collections::HashMap, hash::Hash, num::NonZeroUsize, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A door has at most one in this many slots.
const DOOR_SHARE: usize = 2;

/// A client has at most one in this many slots.
const CLIENT_SHARE: usize = 4;

/// The number of shares from which on those that are not in use are removed.
const MAX_SHARES: usize = 1024;

/// Which slots a command may have.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// Whether it closes the door. Such commands have slots of their own.
    pub closes: bool,
    /// The number of the door.
    pub door: usize,
    /// The number of the client.
    pub client: usize,
}

/// The slots of the commands that open doors, or of those that close them.
#[derive(Debug)]
pub(super) struct Slots {
    number: NonZeroUsize,
    all: Arc<Semaphore>,
    doors: HashMap<usize, Arc<Semaphore>>,
    clients: HashMap<usize, Arc<Semaphore>>,
}

/// What a command waits for, in this order: it holds nothing that commands of others need while it
/// waits for its own.
#[derive(Debug)]
pub(super) struct Claim([Arc<Semaphore>; 3]);

/// A slot that is in use until this value is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Slots {
    pub(super) fn new(number: NonZeroUsize) -> Self {
        Self {
            number,
            all: Arc::new(Semaphore::new(number.get())),
            doors: HashMap::new(),
            clients: HashMap::new(),
        }
    }

    /// A claim to one of the slots.
    pub(super) fn claim(&mut self, lane: Lane) -> Claim {
        let share = |one_in: usize| self.number.get().div_ceil(one_in);
        let (client, door) = (share(CLIENT_SHARE), share(DOOR_SHARE));
        Claim([
            share_of(&mut self.clients, lane.client, client),
            share_of(&mut self.doors, lane.door, door),
            Arc::clone(&self.all),
        ])
    }
}

fn share_of<K: Eq + Hash>(
    shares: &mut HashMap<K, Arc<Semaphore>>,
    key: K,
    size: usize,
) -> Arc<Semaphore> {
    if shares.len() >= MAX_SHARES {
        shares.retain(|_, share| Arc::strong_count(share) > 1);
    }
    let share = shares.entry(key);
    Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(size))))
}

impl Claim {
    /// The slot, if it is free and nobody waits for it.
    pub(super) fn try_take(&self) -> Option<Slot> {
        let permits = self.0.iter().map(|semaphore| {
            let permit = Arc::clone(semaphore).try_acquire_owned();
            permit.ok()
        });
        Some(Slot {
            _permits: permits.collect::<Option<_>>()?,
        })
    }

    /// Waits for the slot.
    pub(super) async fn take(self) -> Slot {
        let mut permits = Vec::new();
        for semaphore in self.0 {
            // Semaphores are never closed.
            permits.extend(semaphore.acquire_owned().await);
        }
        Slot { _permits: permits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(number: usize) -> Slots {
        Slots::new(NonZeroUsize::new(number).unwrap())
    }

    /// Takes slots until there is none.
    fn fill(slots: &mut Slots, door: usize, client: usize) -> Vec<Slot> {
        let lane = Lane {
            closes: false,
            door,
            client,
        };
        std::iter::from_fn(|| slots.claim(lane).try_take()).collect()
    }

    #[test]
    fn nobody_can_fill_the_slots() {
        let mut slots = slots(16);
        let first = fill(&mut slots, 1, 1);
        assert_eq!(first.len(), 4, "a client");
        assert_eq!(fill(&mut slots, 2, 1).len(), 0, "at another door too");
        let second = fill(&mut slots, 1, 2);
        assert_eq!(second.len(), 4, "the rest of a door");
        assert_eq!(fill(&mut slots, 1, 3).len(), 0);
        assert_eq!(fill(&mut slots, 2, 3).len(), 4, "another door");
        drop(first);
        assert_eq!(fill(&mut slots, 1, 3).len(), 4);
    }

    #[test]
    fn a_single_slot_can_be_had() {
        let mut slots = slots(1);
        let slot = fill(&mut slots, 1, 1);
        assert_eq!(slot.len(), 1);
        assert_eq!(fill(&mut slots, 2, 2).len(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_a_share_keeps_nobody_else_waiting() {
        let mut slots = slots(4);
        let lane = |door, client| Lane {
            closes: false,
            door,
            client,
        };
        let first = slots.claim(lane(1, 1)).take().await;
        let mut waiting = Vec::new();
        for _ in 0..100 {
            waiting.push(tokio::spawn(slots.claim(lane(1, 1)).take()));
        }
        tokio::task::yield_now().await;
        assert!(slots.claim(lane(1, 2)).try_take().is_some());
        drop(first);
        for next in waiting {
            next.await.unwrap();
        }
    }

    #[test]
    fn shares_that_nobody_uses_are_removed() {
        let mut slots = slots(4);
        let used = fill(&mut slots, 7, 7);
        for number in 0..10 * MAX_SHARES {
            drop(fill(&mut slots, number, number));
        }
        assert!(slots.clients.len() <= MAX_SHARES && slots.clients.contains_key(&7));
        drop(used);
    }
}
