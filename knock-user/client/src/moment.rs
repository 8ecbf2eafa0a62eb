//! When a knock is made.

use std::{io, time::Duration};

use thiserror::Error;

use crate::clock::Clock;

/// The time of a knock and a random number, which together make its block unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of the knock, in Unix milliseconds.
    pub unix_ms: u64,
    /// Distinguishes SYN knocks of different processes in the same millisecond.
    pub random: u8,
}

/// Why no fresh knock can be created.
#[derive(Debug, Error)]
pub enum MomentError {
    /// The clock is before 1970.
    #[error(
        "the time of the knock would be before 1970: set this host's clock, or see --time and --time-offset"
    )]
    Clock,
    /// The system provides no random numbers.
    #[error("the system provides no random numbers: {0}")]
    Random(io::Error),
}

impl Moment {
    /// The current time on `clock` and a random byte from the system.
    ///
    /// # Errors
    ///
    /// Returns [`MomentError`] if the time is before 1970 or there are no random numbers.
    pub fn now(clock: &Clock) -> Result<Self, MomentError> {
        let since_1970: Duration = clock.since_1970().ok_or(MomentError::Clock)?;
        let mut random = [0];
        getrandom::fill(&mut random)
            .map_err(|error| MomentError::Random(io::Error::other(error)))?;
        let [random] = random;
        Ok(Self {
            unix_ms: u64::try_from(since_1970.as_millis()).map_err(|_| MomentError::Clock)?,
            random,
        })
    }
}
