//! The rate limit of the log's warnings about invalid lines.

use std::time::Duration;

/// The minimum time between two warnings about invalid lines.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Invalid lines since the last warning.
#[derive(Debug, Default)]
pub(crate) struct SkippedLines {
    warned: Option<Duration>,
    unreported: u64,
}

impl SkippedLines {
    /// Counts an invalid line at `now`. If a warning is due, returns the number of invalid lines
    /// since the last warning, without this one.
    pub(crate) fn may_warn(&mut self, now: Duration) -> Option<u64> {
        if let Some(warned) = self.warned
            && now < warned + WARNING_INTERVAL
        {
            self.unreported += 1;
            return None;
        }
        self.warned = Some(now);
        Some(std::mem::take(&mut self.unreported))
    }
}
