//! The delays between the restarts of a process.

use std::time::Duration;

/// The delay after a process that was [`STEADY`] exited. It doubles with each process that was not.
const FIRST_DELAY: Duration = Duration::from_secs(1);

const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// A process that lived this long resets the delay.
const STEADY: Duration = Duration::from_secs(60);

/// The delay between an exit and the next start.
#[derive(Debug, Default)]
pub(crate) struct RestartBackoff {
    next_start: Option<Duration>,
    delay: Duration,
}

impl RestartBackoff {
    /// The time of the next start, on the monotonic clock; `None` if no start is scheduled.
    pub(crate) fn next_start(&self) -> Option<Duration> {
        self.next_start
    }

    /// Clears the scheduled start: the process is being started.
    pub(crate) fn starting(&mut self) {
        self.next_start = None;
    }

    /// A process that had run for `lifetime` exited at `now`, or failed to start, with a lifetime
    /// of zero. Returns the delay until the next start.
    pub(crate) fn exited(&mut self, lifetime: Duration, now: Duration) -> Duration {
        self.delay = if lifetime >= STEADY || self.delay.is_zero() {
            FIRST_DELAY
        } else {
            (self.delay * 2).min(LONGEST_DELAY)
        };
        self.next_start = Some(now + self.delay);
        self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_delay_doubles_up_to_its_limit_and_is_reset_by_a_steady_process() {
        let mut backoff = RestartBackoff::default();
        assert_eq!(backoff.next_start(), None);
        for delay in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(backoff.exited(secs(59), secs(100)), secs(delay));
            assert_eq!(backoff.next_start(), Some(secs(100 + delay)));
        }
        assert_eq!(backoff.exited(STEADY, secs(500)), FIRST_DELAY);
        assert_eq!(backoff.exited(Duration::ZERO, secs(501)), secs(2));
    }

    #[test]
    fn a_start_is_due_once() {
        let mut backoff = RestartBackoff::default();
        backoff.exited(secs(1), secs(10));
        backoff.starting();
        assert_eq!(backoff.next_start(), None);
        assert_eq!(backoff.exited(secs(1), secs(12)), secs(2));
    }
}
