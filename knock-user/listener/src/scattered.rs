//! Notices a knock whose SYNs come from several addresses, as behind a NAT that gives each connection
//! another one. It opens nothing, since a knock admits one address, and would otherwise leave no trace.
//!
//! The last 16 SYNs of all sources are tried as one block, at a low rate. That finds such a knock on a
//! host that little else sends SYNs to, which is enough for a hint.

use std::{collections::VecDeque, net::IpAddr, num::NonZeroU32, time::Duration};

use knock_common::{
    protocol::block::{BLOCK_LEN, Block},
    rate::Rate,
};
use knockd_types::syn::Syn;

/// The blocks that are tried, per second and at once: one knock in the order of its SYNs takes one.
const TRIES: Rate = {
    let (Some(per_second), Some(burst)) = (NonZeroU32::new(8), NonZeroU32::new(32)) else {
        panic!("both are above zero")
    };
    Rate::new(per_second, burst)
};

/// The last SYNs of all sources.
#[derive(Debug, Default)]
pub(crate) struct Scattered {
    syns: VecDeque<Seen>,
    /// How many of the last SYNs come from one address.
    run: usize,
    /// The state of the token bucket of [`TRIES`].
    tries: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    source: IpAddr,
    offset: u8,
    at: Duration,
}

impl Scattered {
    /// Adds `syn`. Returns a block to be tried if the last 16 SYNs come from several addresses and are
    /// not older than `timeout`.
    pub(crate) fn push(&mut self, syn: &Syn, timeout: Duration) -> Option<Block> {
        let is_same = self
            .syns
            .back()
            .is_some_and(|last| last.source == syn.source);
        self.run = if is_same { self.run + 1 } else { 1 };
        if self.syns.len() == BLOCK_LEN {
            self.syns.pop_front();
        }
        self.syns.push_back(Seen {
            source: syn.source,
            offset: syn.offset,
            at: syn.at,
        });
        let first = self.syns.front()?;
        let is_candidate = self.syns.len() == BLOCK_LEN
            && self.run < BLOCK_LEN
            && syn.at.saturating_sub(first.at) <= timeout;
        if !is_candidate {
            return None;
        }
        let now = u64::try_from(syn.at.as_nanos()).unwrap_or(u64::MAX);
        self.tries = TRIES.take(self.tries, now)?;
        let mut block = Block([0; BLOCK_LEN]);
        for (byte, seen) in block.0.iter_mut().zip(&self.syns) {
            *byte = seen.offset;
        }
        Some(block)
    }

    /// The number of addresses of the last SYNs, which were a knock. Forgets them.
    pub(crate) fn take(&mut self) -> usize {
        let mut sources: Vec<_> = self.syns.drain(..).map(|seen| seen.source).collect();
        sources.sort();
        sources.dedup();
        self.run = 0;
        sources.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(15);

    fn syn(source: u8, offset: u8, at: u64) -> Syn {
        Syn {
            source: [192, 0, 2, source].into(),
            source_port: None,
            offset,
            at: Duration::from_secs(at),
        }
    }

    #[test]
    fn the_last_16_syns_of_several_addresses_are_a_block() {
        let mut scattered = Scattered::default();
        for offset in 0..15 {
            assert_eq!(scattered.push(&syn(offset % 3, offset, 1), TIMEOUT), None);
        }
        let block = scattered.push(&syn(9, 15, 1), TIMEOUT).unwrap();
        assert_eq!(block.0.to_vec(), (0..16).collect::<Vec<_>>());
        assert_eq!(scattered.take(), 4);
        assert_eq!(scattered.push(&syn(1, 0, 1), TIMEOUT), None);
    }

    #[test]
    fn one_address_or_a_long_time_is_no_candidate() {
        let mut scattered = Scattered::default();
        for offset in 0..40 {
            assert_eq!(scattered.push(&syn(1, offset, 1), TIMEOUT), None);
        }
        // 15 old SYNs and a new one.
        assert_eq!(scattered.push(&syn(2, 0, 17), TIMEOUT), None);
        assert!(scattered.push(&syn(2, 0, 16), TIMEOUT).is_some());
    }

    #[test]
    fn a_flood_is_tried_at_a_low_rate() {
        let mut scattered = Scattered::default();
        let tried = (0..10_000_u32).filter(|number| {
            let syn = syn(u8::try_from(number % 250).unwrap(), 0, 1);
            scattered.push(&syn, TIMEOUT).is_some()
        });
        assert_eq!(tried.count(), 32);
    }
}
