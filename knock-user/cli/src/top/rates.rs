//! Rates out of counters that only grow: how much came in each second.

use std::{collections::VecDeque, time::Duration};

use knock_common::counters::Outcome;

use knockd_types::status::Status;

/// How many readings are remembered: a wide screen full, one a second.
pub const HISTORY: usize = 512;

/// What a rate is shown of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Packets that the kernel's half has seen, or SYNs that came as lines.
    Packets,
    /// Knocks that were accepted.
    Accepted,
    /// Blocks and knocks that were refused, for whatever reason.
    Refused,
    /// Packets that the gate refused, or would have.
    GateDrops,
}

impl Count {
    /// All of them, in the order of the screen.
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

/// Whatever the other end says, the sum of it is a number.
fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// The rates of every [`Count`], as far back as [`HISTORY`].
#[derive(Debug, Default)]
pub struct Rates {
    last: Option<Reading>,
    /// Per second, the newest first; `None` where the daemon has started again.
    history: VecDeque<[Option<u64>; Count::ALL.len()]>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Duration,
    uptime_seconds: u64,
    totals: [u64; Count::ALL.len()],
}

impl Rates {
    /// Takes the counters of `status`, which came at `now` on any clock that only grows.
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

    /// How many there have been since the daemon started; `None` before the first reading.
    #[must_use]
    pub fn total(&self, count: Count) -> Option<u64> {
        self.last.map(|last| last.totals[count as usize])
    }

    /// How many a second there were of late; `None` if that cannot be said.
    #[must_use]
    pub fn current(&self, count: Count) -> Option<u64> {
        self.newest_first(count).next().flatten()
    }

    /// How many a second there were, reading by reading.
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
            // A counter that has gone back began anew.
            *rate = rate
                .and_then(|total| total.checked_sub(before))
                .map(|new| per_second(new, ms));
        }
        rates
    }
}

/// Rounded, but never down to nothing: a single knock is to be seen.
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

    /// A status at `uptime` with so many packets seen and knocks accepted.
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
        // One in two seconds is not none.
        assert_eq!(rates.current(Count::Accepted), Some(1));
        rates.read(&counted(103, 7000, 8), 4 * SECOND);
        assert_eq!(of(&rates, Count::Packets), [Some(0), Some(1000)]);
    }

    #[test]
    fn a_restarted_daemon_leaves_a_gap() {
        let mut rates = Rates::default();
        rates.read(&counted(100, 5000, 7), SECOND);
        rates.read(&counted(101, 5010, 7), 2 * SECOND);
        // Its counters may have passed the old ones by the time that it answers.
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
    fn what_is_remembered_is_bounded() {
        let mut rates = Rates::default();
        for second in 0..2000 {
            let status = counted(second, 10 * second, 0);
            rates.read(&status, Duration::from_secs(second));
        }
        assert_eq!(of(&rates, Count::Packets), [Some(10); HISTORY]);
    }

    #[test]
    fn absurd_counters_are_no_trouble() {
        let mut rates = Rates::default();
        let mut absurd = counted(1, 0, 0);
        rates.read(&absurd, SECOND);
        absurd.kernel = [("a".to_owned(), u64::MAX), ("b".to_owned(), 5)].into();
        absurd.daemon.refused_stale = u64::MAX;
        absurd.daemon.refused_binding = u64::MAX;
        rates.read(&absurd, SECOND + Duration::from_millis(1));
        assert_eq!(rates.current(Count::Packets), Some(u64::MAX));
        assert_eq!(rates.current(Count::Refused), Some(u64::MAX));
        // Twice at one moment.
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
        // Lines come without a kernel.
        status.kernel.clear();
        status.daemon.events = 16;
        rates.read(&status, 2 * SECOND);
        assert_eq!(rates.total(Count::Packets), Some(16));
    }
}
