//! SYNs of many sources, in batches like the ring's.

use std::{
    iter::repeat_with,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    time::Duration,
};

use anyhow::{Result, ensure};
use knock_user::daemon::{knock::Knock, sequence::Assembler, source::xdp::ring::MAX_BATCH};

use crate::clock::per_each;

/// SYNs of a source that wait for the others of its knock.
const HALF: usize = 8;

/// Who sends the next SYN.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// The source that has waited longest, whose neighbours in memory may be those that send
    /// before and after it.
    Turns,
    /// Any one that has not sent in this round.
    Any,
    /// One that was never seen before.
    New,
}

/// A steady stream of SYNs, in which as many sources as there may be are always there, each with
/// half a knock on its queue, or with one SYN where it sends no other.
pub(super) struct Stream {
    assembler: Assembler,
    count: usize,
    /// The sources in the order in which they send, round by round and again and again; none
    /// where each SYN is of a new one.
    rounds: Vec<Vec<u32>>,
    sent: usize,
}

/// Between two SYNs of the stream.
const INTERVAL: Duration = Duration::from_micros(1);

impl Stream {
    pub(super) fn new(count: usize, order: Order) -> Self {
        // Always the same, so that two runs measure the same.
        let mut random = fastrand::Rng::with_seed(1);
        let round = || {
            let mut round: Vec<_> = (0..).take(count).collect();
            random.shuffle(&mut round);
            round
        };
        let rounds = match order {
            Order::Turns => 1,
            Order::Any => 5,
            Order::New => 0,
        };
        // A SYN is forgotten with the one that comes HALF rounds later, which makes HALF again. As
        // long as the timeout it is kept: one round less, or there would be one too many.
        let kept = (HALF - 1) * count;
        let timeout = INTERVAL.saturating_mul(u32::try_from(kept).unwrap_or(u32::MAX));
        let bound = NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        let mut stream = Self {
            assembler: Assembler::new(timeout, bound),
            count,
            rounds: repeat_with(round).take(rounds).collect(),
            sent: 0,
        };
        for _ in 0..(HALF * count).div_ceil(MAX_BATCH) {
            stream.push();
        }
        stream
    }

    /// What holds the SYNs, without the rest.
    pub(super) fn into_assembler(self) -> Assembler {
        self.assembler
    }

    /// Pushes a batch as the daemon does, and says whether none of it was more than half a knock.
    fn push(&mut self) -> bool {
        let batch: Vec<_> = (0..MAX_BATCH).map(|_| self.next()).collect();
        let mut as_meant = true;
        for sighting in self.assembler.sight(&batch) {
            let candidates = self.assembler.push_sighted(sighting);
            as_meant &= candidates.is_some_and(|candidates| candidates.blocks.is_empty());
        }
        as_meant
    }

    fn next(&mut self) -> Knock {
        let at = INTERVAL.saturating_mul(u32::try_from(self.sent).unwrap_or(u32::MAX));
        let round = self.sent / self.count;
        let source = match self.rounds.len() {
            0 => self.sent,
            rounds => self.rounds[round % rounds][self.sent % self.count] as usize,
        };
        self.sent += 1;
        knock(source, round, at)
    }

    /// Nanoseconds for each SYN of `batches`. As many before them are not measured, since what
    /// else was measured meanwhile has taken the processor's caches.
    pub(super) fn per_event(&mut self, batches: u32) -> Result<f64> {
        let mut as_meant = self.push_all(batches);
        let per_batch = per_each(batches, || {
            as_meant &= self.push_all(batches);
            ensure!(
                as_meant && self.assembler.sources() == self.count,
                "a SYN was not one of half a knock"
            );
            Ok(())
        })?;
        Ok(per_batch / MAX_BATCH as f64)
    }

    fn push_all(&mut self, batches: u32) -> bool {
        (0..batches).fold(true, |as_meant, _| as_meant & self.push())
    }
}

/// The SYN number `number` of `source`.
pub(super) fn knock(source: usize, number: usize, at: Duration) -> Knock {
    let address = u32::try_from(source).unwrap_or(u32::MAX);
    // No two in a row, which would be tried as a knock.
    let [low, high, ..] = (number * 3).to_le_bytes();
    Knock {
        source: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | address)),
        source_port: Some(u16::from_le_bytes([low, high])),
        offset: low,
        at,
    }
}
