//! SYNs of which every source always has half a knock on its queue.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    time::Duration,
};

use anyhow::{Result, ensure};
use knock_user::daemon::{knock::Knock, sequence::Assembler};

use crate::clock::per_each;

/// SYNs of a source that wait for the others of its knock.
const HALF: usize = 8;

/// A steady stream of SYNs, in which every source always has half a knock on the queue.
pub(super) struct Stream {
    assembler: Assembler,
    /// The sources in the order in which they send; again and again.
    order: Vec<usize>,
    sent: usize,
}

/// Between two SYNs of the stream.
const INTERVAL: Duration = Duration::from_micros(1);

impl Stream {
    pub(super) fn new(count: usize) -> Self {
        let mut order: Vec<_> = (0..count).collect();
        // Always the same, so that two runs measure the same.
        fastrand::Rng::with_seed(1).shuffle(&mut order);
        // What a source has sent that many rounds ago is forgotten.
        let timeout = INTERVAL.saturating_mul(u32::try_from(HALF * count).unwrap_or(u32::MAX));
        let bound = NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        let mut stream = Self {
            assembler: Assembler::new(timeout, bound),
            order,
            sent: 0,
        };
        for _ in 0..HALF * count {
            stream.push();
        }
        stream
    }

    /// What holds the SYNs, without the rest.
    pub(super) fn into_assembler(self) -> Assembler {
        self.assembler
    }

    fn push(&mut self) -> bool {
        let source = self.order[self.sent % self.order.len()];
        let at = INTERVAL.saturating_mul(u32::try_from(self.sent).unwrap_or(u32::MAX));
        let round = self.sent / self.order.len();
        self.sent += 1;
        let candidates = self.assembler.push(&knock(source, round, at));
        candidates.is_some_and(|candidates| candidates.blocks.is_empty())
    }

    /// Nanoseconds for each of `pushes` SYNs.
    pub(super) fn per_event(&mut self, pushes: u32) -> Result<f64> {
        per_each(pushes, || {
            let as_meant = (0..pushes).fold(true, |as_meant, _| as_meant & self.push());
            ensure!(
                as_meant && self.assembler.sources() == self.order.len(),
                "a SYN was not one of half a knock"
            );
            Ok(())
        })
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
