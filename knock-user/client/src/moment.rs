//! When a knock is made.

use std::{
    io, process,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use thiserror::Error;

use crate::clock::Clock;

/// The time of a knock and a random number, which together make its block unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of the knock, in Unix milliseconds.
    pub unix_ms: u64,
    /// Distinguishes SYN knocks of the same millisecond.
    pub random: u8,
}

/// Why no fresh knock can be created.
#[derive(Debug, Error)]
pub enum MomentError {
    /// The clock is before 1970.
    #[error("the time of the knock would be before 1970: set this host's clock")]
    Clock,
    /// The system provides no random numbers.
    #[error("the system provides no random numbers: {0}")]
    Random(io::Error),
}

/// The last moment of this process. Its threads share it, so that no two of their knocks are equal.
static LAST: AtomicU64 = AtomicU64::new(0);

impl Moment {
    /// The current time on `clock` and a random byte from the system.
    ///
    /// Two moments of one process differ, up to 256 in the same millisecond, even if the random bytes
    /// are equal. Otherwise the daemon would reject the second knock as a replay.
    ///
    /// # Errors
    ///
    /// Returns [`MomentError`] if the time is before 1970 or there are no random numbers.
    pub(crate) fn now(clock: &Clock) -> Result<Self, MomentError> {
        let since_1970: Duration = clock.since_1970().ok_or(MomentError::Clock)?;
        let mut random = [0];
        getrandom::fill(&mut random)
            .map_err(|error| MomentError::Random(io::Error::other(error)))?;
        let [random] = random;
        let moment = Self {
            unix_ms: u64::try_from(since_1970.as_millis()).map_err(|_| MomentError::Clock)?,
            random,
        };
        Ok(moment.unlike(&LAST, process::id()))
    }

    /// This moment, or one that differs from `last` if that is of the same process and millisecond.
    /// Becomes the last one itself.
    fn unlike(mut self, last: &AtomicU64, process: u32) -> Self {
        let unlike = |last: u64| {
            let [_, _, _, _, _, _, _, random] = last.to_be_bytes();
            match self.mark(random, process) == last {
                true => self.mark(random.wrapping_add(1), process),
                false => self.mark(self.random, process),
            }
        };
        let before = last.update(Ordering::Relaxed, Ordering::Relaxed, unlike);
        let [_, _, _, _, _, _, _, random] = unlike(before).to_be_bytes();
        self.random = random;
        self
    }

    /// What tells the moments of processes apart: 16 bits of the process, because a fork takes the last
    /// moment with it, the 40 bits of the time that a SYN knock contains, and `random`.
    fn mark(self, random: u8, process: u32) -> u64 {
        u64::from(process) << 48 | (self.unix_ms << 8) & 0xffff_ffff_ff00 | u64::from(random)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_child_does_not_continue_the_moments_of_its_parent() {
        let last = AtomicU64::new(0);
        let moment = Moment {
            unix_ms: 1_800_000_000_000,
            random: 7,
        };
        assert_eq!(moment.unlike(&last, 1).random, 7);
        assert_eq!(moment.unlike(&last, 1).random, 8);
        let other = Moment {
            random: 3,
            ..moment
        };
        assert_eq!(other.unlike(&last, 2).random, 3);
    }

    proptest! {
        #[test]
        fn moments_of_one_millisecond_differ(
            unix_ms: u64,
            process: u32,
            randoms in prop::collection::vec(any::<u8>(), 1..=256),
        ) {
            let last = AtomicU64::new(0);
            let mut seen = HashSet::new();
            for random in randoms {
                let moment = Moment { unix_ms, random }.unlike(&last, process);
                prop_assert_eq!(moment.unix_ms, unix_ms);
                prop_assert!(seen.insert(moment.random));
            }
            let later = Moment { unix_ms: unix_ms.wrapping_add(1), random: 3 };
            prop_assert_eq!(later.unlike(&last, process).random, 3);
        }
    }
}
