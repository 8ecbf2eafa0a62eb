//! SYNs from many sources, in batches like those of the ring buffer.

use std::{
    iter::repeat_with,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    time::Duration,
};

use anyhow::{Result, ensure};
use knockd_listener::{assembler::Assembler, source::ring::MAX_BATCH};
use knockd_types::syn::Syn;

use crate::clock::per_each;

/// The number of SYNs in the queue of a source with a partial knock.
const PARTIAL_LEN: usize = 8;

/// Which source sends the next SYN.
#[derive(Clone, Copy, Debug)]
pub(super) enum Senders {
    /// The same order in each round, which may be the order in memory.
    RoundRobin,
    /// A random order in each round.
    Shuffled,
    /// A new source each time.
    New,
}

/// A stream of SYNs that keeps the assembler at its maximum number of sources. Each source has a
/// partial knock in its queue, or one SYN with [`Senders::New`].
pub(super) struct Stream {
    assembler: Assembler,
    count: usize,
    /// The order of the sources in each round, repeated cyclically; empty with [`Senders::New`].
    rounds: Vec<Vec<u32>>,
    sent: usize,
}

/// The time between two SYNs of the stream.
const INTERVAL: Duration = Duration::from_micros(1);

impl Stream {
    pub(super) fn new(count: usize, senders: Senders) -> Self {
        // A fixed seed, so that runs are comparable.
        let mut random = fastrand::Rng::with_seed(1);
        let round = || {
            let mut round: Vec<_> = (0..).take(count).collect();
            random.shuffle(&mut round);
            round
        };
        let rounds = match senders {
            Senders::RoundRobin => 1,
            Senders::Shuffled => 5,
            Senders::New => 0,
        };
        // A SYN must expire when its source sends the SYN PARTIAL_LEN rounds later. A SYN whose age
        // equals the timeout is kept, so the timeout is one round shorter.
        let kept = (PARTIAL_LEN - 1) * count;
        let timeout = INTERVAL.saturating_mul(u32::try_from(kept).unwrap_or(u32::MAX));
        let bound = NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        let mut stream = Self {
            assembler: Assembler::new(timeout, bound),
            count,
            rounds: repeat_with(round).take(rounds).collect(),
            sent: 0,
        };
        for _ in 0..(PARTIAL_LEN * count).div_ceil(MAX_BATCH) {
            stream.push();
        }
        stream
    }

    /// The assembler with its SYNs.
    pub(super) fn into_assembler(self) -> Assembler {
        self.assembler
    }

    /// Pushes a batch as the daemon does. Returns true if every SYN was stored and none completed a
    /// knock.
    fn push(&mut self) -> bool {
        let batch: Vec<_> = (0..MAX_BATCH).map(|_| self.next()).collect();
        let mut as_expected = true;
        for sighting in self.assembler.sight(&batch) {
            let candidates = self.assembler.push_sighted(sighting);
            as_expected &= candidates.is_some_and(|candidates| candidates.blocks.is_empty());
        }
        as_expected
    }

    fn next(&mut self) -> Syn {
        let at = INTERVAL.saturating_mul(u32::try_from(self.sent).unwrap_or(u32::MAX));
        let round = self.sent / self.count;
        let source = match self.rounds.len() {
            0 => self.sent,
            rounds => self.rounds[round % rounds][self.sent % self.count] as usize,
        };
        self.sent += 1;
        knock(source, round, at)
    }

    /// Nanoseconds per SYN in `batches`. The same number of batches precedes the measurement, because
    /// other measurements in between have displaced the CPU caches.
    pub(super) fn per_event(&mut self, batches: u32) -> Result<f64> {
        let mut as_expected = self.push_all(batches);
        let per_batch = per_each(batches, || {
            as_expected &= self.push_all(batches);
            ensure!(
                as_expected && self.assembler.sources() == self.count,
                "a SYN was lost or completed a knock"
            );
            Ok(())
        })?;
        Ok(per_batch / MAX_BATCH as f64)
    }

    fn push_all(&mut self, batches: u32) -> bool {
        (0..batches).fold(true, |as_expected, _| as_expected & self.push())
    }
}

/// The `number`-th SYN of `source`.
pub(super) fn knock(source: usize, number: usize, at: Duration) -> Syn {
    let address = u32::try_from(source).unwrap_or(u32::MAX);
    // No two consecutive source ports: the assembler would try the SYNs as a knock.
    let [low, high, ..] = (number * 3).to_le_bytes();
    Syn {
        source: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | address)),
        source_port: Some(u16::from_le_bytes([low, high])),
        offset: low,
        at,
    }
}
