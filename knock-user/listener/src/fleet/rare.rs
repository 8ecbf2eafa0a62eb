//! Warnings that others can cause as often as they like.

use std::time::Duration;

/// When the next warning of a kind is due, on the clock of `monotonic`.
#[derive(Debug)]
pub(super) struct Rare {
    /// The time between two of them.
    interval: Duration,
    next: Duration,
}

impl Default for Rare {
    /// One a minute.
    fn default() -> Self {
        Self::every(Duration::from_mins(1))
    }
}

impl Rare {
    /// One every `interval`.
    pub(super) fn every(interval: Duration) -> Self {
        Self {
            interval,
            next: Duration::ZERO,
        }
    }

    /// Whether a warning is due at `now`. Then the next one is not for a while.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = now >= self.next;
        if is_due {
            self.next = now + self.interval;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_due_once_in_a_minute() {
        let mut warning = Rare::default();
        let due = [1, 2, 60, 61, 100, 121].map(|now| warning.is_due(Duration::from_secs(now)));
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
