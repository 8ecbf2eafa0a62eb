//! The blocks that wait to be tried with every client's key, in a fair order.
//!
//! In a flood there is no time to try all. A source with many failures waits for those with fewer, so
//! that a genuine knock, the first block of its source, is tried before most of the flood.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use knock_common::protocol::{block::Block, tile::TILE_LEN};
use knockd_types::syn::Syn;

use crate::assembler::Candidate;

/// The most blocks that wait: with 10,000 keys those of a quarter of a second.
const MOST: usize = 8192;

/// The time for the blocks that are tried together. Meanwhile nothing else is done.
const BUDGET: Duration = Duration::from_millis(4);

/// How many blocks are tried together: as many as [`BUDGET`] allows, which depends on the processor and
/// on the number of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace(usize);

impl Default for Pace {
    /// One block, whose time is not known yet.
    fn default() -> Self {
        Self(1)
    }
}

impl Pace {
    /// The number of blocks, at most [`TILE_LEN`].
    pub(crate) fn blocks(self) -> usize {
        self.0
    }

    /// The pace after `blocks` took this time.
    pub(crate) fn after(self, blocks: usize, took: Duration) -> Self {
        if blocks == 0 {
            return self;
        }
        let affordable = BUDGET.as_nanos() * blocks as u128 / took.as_nanos().max(1);
        let affordable = usize::try_from(affordable).unwrap_or(usize::MAX);
        Self(affordable.clamp(1, TILE_LEN))
    }
}

/// A block that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) block: Block,
    pub(crate) source: IpAddr,
    /// The times of its first and its last SYN.
    since: Duration,
    pub(crate) until: Duration,
    /// The time of the SYN that completed it: not always the last one.
    pub(crate) at: Duration,
}

impl Trial {
    /// Whether it is of the same source as `other`, and has SYNs from before the end of `other`.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.source == other.source && self.since <= other.until
    }
}

/// The blocks that wait, by rank and then in the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    waiting: BTreeMap<(u32, u64), Trial>,
    /// The number of the next block.
    next: u64,
}

impl Trials {
    /// Adds `candidate`, which `syn` has completed. If too many wait, the last one is dropped, which
    /// may be this one. Returns whether one is dropped.
    pub(crate) fn push(&mut self, candidate: &Candidate, syn: &Syn) -> bool {
        let place = (candidate.rank, self.next);
        let is_full = self.waiting.len() >= MOST;
        if is_full {
            match self.waiting.last_entry() {
                Some(last) if *last.key() > place => drop(last.remove()),
                _ => return true,
            }
        }
        self.next += 1;
        let trial = Trial {
            block: candidate.block,
            source: syn.source,
            since: candidate.since,
            until: candidate.until,
            at: syn.at,
        };
        self.waiting.insert(place, trial);
        is_full
    }

    /// Removes the next blocks, at most `most`.
    pub(crate) fn take(&mut self, most: usize) -> Vec<Trial> {
        let next = std::iter::from_fn(|| self.waiting.pop_first());
        next.take(most).map(|(_, trial)| trial).collect()
    }

    /// Removes the blocks that [overlap](Trial::overlaps) an accepted knock.
    pub(crate) fn accept(&mut self, accepted: &Trial) {
        self.waiting.retain(|_, trial| !trial.overlaps(accepted));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    fn syn(last: u8, at: u64) -> Syn {
        Syn {
            source: source(last),
            source_port: None,
            offset: 0,
            at: Duration::from_millis(at),
        }
    }

    /// A block of ten milliseconds.
    fn candidate(number: u8, rank: u32, since: u64) -> Candidate {
        Candidate {
            block: Block([number; 16]),
            since: Duration::from_millis(since),
            until: Duration::from_millis(since + 10),
            rank,
        }
    }

    fn numbers(trials: &mut Trials) -> Vec<u8> {
        let taken = trials.take(usize::MAX);
        taken.iter().map(|trial| trial.block.0[0]).collect()
    }

    #[test]
    fn as_many_are_tried_together_as_there_is_time_for() {
        let after = |blocks, micros| {
            let pace = Pace::default().after(blocks, Duration::from_micros(micros));
            pace.blocks()
        };
        assert_eq!(Pace::default().blocks(), 1);
        assert_eq!(after(0, 0), 1);
        assert_eq!(after(1, 0), TILE_LEN);
        assert_eq!(after(1, 250), 16);
        assert_eq!(after(64, 8000), 32);
        assert_eq!(after(1, 1_000_000), 1);
    }

    #[test]
    fn those_with_fewer_before_them_come_first() {
        let mut trials = Trials::default();
        for (number, rank) in [(1, 2), (2, 0), (3, 1), (4, 0), (5, 2)] {
            assert!(!trials.push(&candidate(number, rank, 0), &syn(number, 1)));
        }
        assert_eq!(numbers(&mut trials), [2, 4, 3, 1, 5]);
        assert!(trials.is_empty());
        trials.push(&candidate(1, 0, 0), &syn(1, 1));
        trials.clear();
        assert!(trials.is_empty());
    }

    #[test]
    fn the_last_one_is_dropped_if_too_many_wait() {
        let mut trials = Trials::default();
        for _ in 0..MOST {
            assert!(!trials.push(&candidate(1, 1, 0), &syn(1, 1)));
        }
        assert!(trials.push(&candidate(3, 0, 0), &syn(3, 1)));
        // Of the same rank and later, and of a higher one.
        for (number, rank) in [(2, 1), (4, 2)] {
            assert!(trials.push(&candidate(number, rank, 0), &syn(number, 1)));
        }
        assert!(!trials.is_empty());
        let numbers = numbers(&mut trials);
        assert_eq!((numbers.len(), &numbers[..2]), (MOST, &[3, 1][..]));
        assert!(!numbers.contains(&2) && !numbers.contains(&4));
    }

    #[test]
    fn an_accepted_knock_takes_the_blocks_that_share_its_syns_with_it() {
        let mut trials = Trials::default();
        for (number, from, since) in [(1, 1, 10), (2, 1, 20), (3, 1, 21), (4, 2, 10)] {
            trials.push(&candidate(number, 0, since), &syn(from, 40));
        }
        let accepted = trials.take(1);
        assert_eq!(accepted[0].block, Block([1; 16]));
        trials.accept(&accepted[0]);
        assert_eq!(numbers(&mut trials), [3, 4]);
    }
}
