//! Warnings that whoever controls the engine can cause as often as they like.

use std::time::Duration;

/// The time between two of them.
const INTERVAL: Duration = Duration::from_mins(1);

/// When the next warning of a kind is due, on the clock of `monotonic`.
#[derive(Debug, Default)]
pub(super) struct Rare(Duration);

impl Rare {
    /// Whether a warning is due at `now`. Then the next one is not for a while.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = now >= self.0;
        if is_due {
            self.0 = now + INTERVAL;
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
