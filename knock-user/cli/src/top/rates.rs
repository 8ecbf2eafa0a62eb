//! Computes rates per second from monotonic counters.

use std::{collections::VecDeque, time::Duration};

use knock_common::counters::Outcome;
use knockd_types::status::Status;

/// How many readings are kept: one per second and column of a wide screen.
pub const HISTORY: usize = 512;

/// A counted quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Packets that the eBPF program has seen, or SYNs from `--lines`.
    Packets,
    /// Accepted knocks.
    Accepted,
    /// Refused blocks and knocks, for any reason.
    Refused,
    /// Packets that the gate dropped, or would have dropped in observe mode.
    GateDrops,
}

impl Count {
    /// All quantities, in the order on the screen.
    pub const ALL: [Self; 4] = [
        Self::Packets,
        Self::Accepted,
        Self::Refused,
        Self::GateDrops,
    ];

    fn total(self, status: &Status) -> u64 {
        let kernel = |outcome: Outcome| status.kernel.get(outcome.name()).copied();
        match self {
            Self::Packets if status.kernel.is_empty() => status.daemon.events,
            Self::Packets => sum(status.kernel.values().copied()),
            Self::Accepted => status.daemon.accepted,
            Self::Refused => sum(status
                .daemon
                .each()
                .filter(|(name, ..)| name.starts_with("refused_"))
                .map(|(_, count, _)| count)),
            Self::GateDrops => sum([Outcome::GateRefused, Outcome::GateUnclear]
                .into_iter()
                .filter_map(kernel)),
        }
    }
}

/// The saturating sum. The values come from another process and may be arbitrary.
fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// The rates of every [`Count`] for the last [`HISTORY`] readings.
#[derive(Debug, Default)]
pub struct Rates {
    last: Option<Reading>,
    /// Rates per second, the newest first. `None` where the daemon restarted.
    history: VecDeque<[Option<u64>; Count::ALL.len()]>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Duration,
    uptime_seconds: u64,
    totals: [u64; Count::ALL.len()],
}

impl Rates {
    /// Records the counters of `status`, received at `now` on any monotonic clock.
    pub fn read(&mut self, status: &Status, now: Duration) {
        let reading = Reading {
            at: now,
            uptime_seconds: status.uptime_seconds,
            totals: Count::ALL.map(|count| count.total(status)),
        };
        if let Some(last) = self.last.replace(reading) {
            self.history.truncate(HISTORY - 1);
            self.history.push_front(reading.since(&last));
        }
    }

    /// The total since the start of the daemon; `None` before the first reading.
    #[must_use]
    pub fn total(&self, count: Count) -> Option<u64> {
        self.last.map(|last| last.totals[count as usize])
    }

    /// The current rate per second; `None` if unknown.
    #[must_use]
    pub fn current(&self, count: Count) -> Option<u64> {
        self.newest_first(count).next().flatten()
    }

    /// The rate per second for each reading, the newest first.
    pub fn newest_first(&self, count: Count) -> impl Iterator<Item = Option<u64>> {
        self.history.iter().map(move |rates| rates[count as usize])
    }
}

impl Reading {
    fn since(&self, last: &Self) -> [Option<u64>; Count::ALL.len()] {
        let ms = self.at.saturating_sub(last.at).as_millis();
        if ms == 0 || self.uptime_seconds < last.uptime_seconds {
            return Default::default();
        }
        let mut rates = self.totals.map(Some);
        for (rate, before) in rates.iter_mut().zip(last.totals) {
            // A counter that went back was reset.
            *rate = rate
                .and_then(|total| total.checked_sub(before))
                .map(|new| per_second(new, ms));
        }
        rates
    }
}

/// The rounded rate. Not rounded down to zero: a single knock has to be visible.
fn per_second(new: u64, ms: u128) -> u64 {
    let rate = (u128::from(new) * 1000 + ms / 2) / ms;
    u64::try_from(rate)
        .unwrap_or(u64::MAX)
        .max(u64::from(new > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::view::tests::status;

    const SECOND: Duration = Duration::from_secs(1);

    /// A status with this uptime and these counters.
    fn counted(uptime_seconds: u64, packets: u64, accepted: u64) -> Status {
        let mut status = status();
        status.uptime_seconds = uptime_seconds;
        status.kernel = [("knock".to_owned(), packets)].into();
        status.daemon.accepted = accepted;
        status
    }

    fn of(rates: &Rates, count: Count) -> Vec<Option<u64>> {
        rates.newest_first(count).collect()
    }

    #[test]
    fn a_rate_needs_two_readings() {
        let mut rates = Rates::default();
        assert_eq!(rates.total(Count::Packets), None);
        rates.read(&counted(100, 5000, 7), SECOND);
        assert_eq!(rates.total(Count::Packets), Some(5000));
        assert_eq!(rates.current(Count::Packets), None);
        rates.read(&counted(102, 7000, 8), 3 * SECOND);
        assert_eq!(rates.current(Count::Packets), Some(1000));
        // One in two seconds is not rounded to zero.
        assert_eq!(rates.current(Count::Accepted), Some(1));
        rates.read(&counted(103, 7000, 8), 4 * SECOND);
        assert_eq!(of(&rates, Count::Packets), [Some(0), Some(1000)]);
    }

    #[test]
    fn a_restarted_daemon_leaves_a_gap() {
        let mut rates = Rates::default();
        rates.read(&counted(100, 5000, 7), SECOND);
        rates.read(&counted(101, 5010, 7), 2 * SECOND);
        // The new counters may already exceed the old ones.
        rates.read(&counted(3, 9000, 7), 6 * SECOND);
        rates.read(&counted(4, 9020, 7), 7 * SECOND);
        assert_eq!(of(&rates, Count::Packets), [Some(20), None, Some(10)]);
        assert_eq!(rates.total(Count::Packets), Some(9020));
    }

    #[test]
    fn a_counter_that_goes_back_is_no_rate() {
        let mut rates = Rates::default();
        rates.read(&counted(0, 5000, 7), SECOND);
        rates.read(&counted(0, 12, 8), 2 * SECOND);
        assert_eq!(rates.current(Count::Packets), None);
        assert_eq!(rates.current(Count::Accepted), Some(1));
    }

    #[test]
    fn the_history_is_bounded() {
        let mut rates = Rates::default();
        for second in 0..2000 {
            let status = counted(second, 10 * second, 0);
            rates.read(&status, Duration::from_secs(second));
        }
        assert_eq!(of(&rates, Count::Packets), [Some(10); HISTORY]);
    }

    #[test]
    fn absurd_counters_saturate() {
        let mut rates = Rates::default();
        let mut absurd = counted(1, 0, 0);
        rates.read(&absurd, SECOND);
        absurd.kernel = [("a".to_owned(), u64::MAX), ("b".to_owned(), 5)].into();
        absurd.daemon.refused_stale = u64::MAX;
        absurd.daemon.refused_binding = u64::MAX;
        rates.read(&absurd, SECOND + Duration::from_millis(1));
        assert_eq!(rates.current(Count::Packets), Some(u64::MAX));
        assert_eq!(rates.current(Count::Refused), Some(u64::MAX));
        // Two readings at the same time.
        rates.read(&absurd, SECOND + Duration::from_millis(1));
        assert_eq!(rates.current(Count::Packets), None);
    }

    #[test]
    fn refusals_and_drops_are_those_of_every_reason() {
        let mut rates = Rates::default();
        let mut status = status();
        status.daemon.refused_stale = 2;
        status.daemon.refused_doors_full = 3;
        status.kernel = [
            ("gate_refused".to_owned(), 5),
            ("gate_unclear".to_owned(), 6),
            ("not_tcp".to_owned(), 100),
        ]
        .into();
        rates.read(&status, SECOND);
        assert_eq!(rates.total(Count::Refused), Some(5));
        assert_eq!(rates.total(Count::GateDrops), Some(11));
        assert_eq!(rates.total(Count::Packets), Some(111));
        // With `--lines` there are no kernel counters.
        status.kernel.clear();
        status.daemon.events = 16;
        rates.read(&status, 2 * SECOND);
        assert_eq!(rates.total(Count::Packets), Some(16));
    }
}
