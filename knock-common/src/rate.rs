//! The token bucket that limits the rate of one source, in the kernel and in the daemon.

use core::num::NonZeroU32;

/// A token bucket, implemented as the generic cell rate algorithm (ITU-T I.371). The state of
/// a bucket is one `u64`: the time at which the bucket will be full again.
///
/// The initial state is 0, a full bucket. All times are nanoseconds of one clock.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub(crate) interval_ns: u64,
    pub(crate) burst_ns: u64,
}

impl Rate {
    /// A rate of `per_second` tokens, with at most `burst` tokens in the bucket.
    #[must_use]
    pub const fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval_ns = 1_000_000_000 / per_second.get() as u64;
        Self {
            interval_ns,
            // Below 2^62: the nanoseconds of a second times a u32.
            burst_ns: interval_ns * burst.get() as u64,
        }
    }

    /// Takes one token at time `now`. Returns the new state, or `None` if the bucket is empty.
    #[must_use]
    #[inline(always)]
    pub const fn take(&self, full_at: u64, now: u64) -> Option<u64> {
        let from = if full_at > now { full_at } else { now };
        let full_at = from.wrapping_add(self.interval_ns);
        if full_at.wrapping_sub(now) > self.burst_ns {
            return None;
        }
        Some(full_at)
    }
}

const _: () = assert!(size_of::<Rate>() == 16);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate::new(
            NonZeroU32::new(per_second).unwrap(),
            NonZeroU32::new(burst).unwrap(),
        )
    }

    fn taken(rate: Rate, state: &mut u64, now: u64, tries: u32) -> u32 {
        (0..tries)
            .filter(|_| {
                rate.take(*state, now)
                    .inspect(|next| *state = *next)
                    .is_some()
            })
            .count()
            .try_into()
            .unwrap()
    }

    #[test]
    fn burst_then_rate() {
        let rate = rate(64, 128);
        let mut state = 0;
        let start = 5_000_000_000;
        assert_eq!(taken(rate, &mut state, start, 1000), 128);
        assert_eq!(taken(rate, &mut state, start + 1_000_000_000, 1000), 64);
        assert_eq!(taken(rate, &mut state, start + 60_000_000_000, 1000), 128);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            per_second in 1_u32..1000,
            burst in 1_u32..1000,
            gaps in prop::collection::vec(0_u64..100_000_000, 1..200),
        ) {
            let rate = rate(per_second, burst);
            let (mut state, mut now, mut total) = (0, 1, 0_u64);
            for gap in &gaps {
                now += gap;
                total += u64::from(taken(rate, &mut state, now, 3));
            }
            let elapsed: u64 = gaps.iter().sum();
            let interval = 1_000_000_000 / u64::from(per_second);
            prop_assert!(total <= u64::from(burst) + elapsed / interval + 1);
        }
    }
}
