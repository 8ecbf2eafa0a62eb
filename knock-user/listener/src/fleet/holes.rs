//! Whether SYN knocks reach this node with holes, as behind a balancer that chooses nodes by ports.
//!
//! Strangers can send SYNs that look so. All that comes of them is one line in the log in an hour, and
//! one in the status.

use std::time::Duration;

use knockd_types::status::KnocksWithHoles;

use super::rare::Rare;

/// The time in which knocks with holes are compared with whole ones.
const PERIOD: Duration = Duration::from_hours(1);

/// The knocks with holes in a [`PERIOD`] that are worth a word: what somebody causes who tries
/// a knock some times. One or two may be of a scanner, or of a bad network.
const ENOUGH: u64 = 3;

/// What is known of the SYN knocks to this node. All times are on the clock of `monotonic`.
#[derive(Debug)]
pub(super) struct Holes {
    period: Period,
    found: Option<Found>,
    warned: Rare,
}

/// The knocks of a [`PERIOD`], which begins with the first of them.
#[derive(Debug, Default)]
struct Period {
    begun: Duration,
    with_holes: u64,
    whole: u64,
    /// When the first one with holes was noticed.
    first: Duration,
}

/// The knocks with holes that are worth a word.
#[derive(Debug)]
struct Found {
    knocks: u64,
    since: Duration,
    last: Duration,
}

impl Default for Holes {
    fn default() -> Self {
        Self {
            period: Period::default(),
            found: None,
            warned: Rare::every(PERIOD),
        }
    }
}

impl Holes {
    /// Notes knocks that have arrived with holes. Returns whether a warning is due.
    pub(super) fn add(&mut self, knocks: u64, now: Duration) -> bool {
        let period = self.period_at(now);
        if period.with_holes == 0 {
            period.first = now;
        }
        period.with_holes += knocks;
        let new = period.is_evident().then_some(Found {
            knocks: period.with_holes,
            since: period.first,
            last: now,
        });
        self.found = match self.found.take() {
            Some(found) if found.is_recent(now) => Some(Found {
                knocks: found.knocks + knocks,
                last: now,
                ..found
            }),
            _ => new,
        };
        self.found.is_some() && self.warned.is_due(now)
    }

    /// Notes a knock that has arrived whole.
    pub(super) fn add_whole(&mut self, now: Duration) {
        let period = self.period_at(now);
        period.whole += 1;
        if period.whole > period.with_holes {
            self.found = None;
        }
    }

    /// What the status says.
    pub(super) fn status(&self, now: Duration) -> Option<KnocksWithHoles> {
        let found = self.found.as_ref().filter(|found| found.is_recent(now))?;
        Some(KnocksWithHoles {
            knocks: found.knocks,
            seconds: now.saturating_sub(found.since).as_secs(),
        })
    }

    fn period_at(&mut self, now: Duration) -> &mut Period {
        if now >= self.period.begun + PERIOD {
            self.period = Period {
                begun: now,
                ..Period::default()
            };
        }
        &mut self.period
    }
}

impl Period {
    /// Whether there are enough knocks with holes, and no more whole ones. A balancer that chooses
    /// by ports leaves no knock whole.
    fn is_evident(&self) -> bool {
        self.with_holes >= ENOUGH && self.with_holes >= self.whole
    }
}

impl Found {
    fn is_recent(&self, now: Duration) -> bool {
        now < self.last + PERIOD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_mins(minutes)
    }

    fn shown(holes: &Holes, now: Duration) -> Option<(u64, u64)> {
        let status = holes.status(now);
        status.map(|holes| (holes.knocks, holes.seconds / 60))
    }

    #[test]
    fn several_knocks_with_holes_are_told_once_an_hour() {
        let mut holes = Holes::default();
        let due = [100, 101, 102, 103, 161, 162].map(|now| holes.add(1, minutes(now)));
        assert_eq!(due, [false, false, true, false, false, true]);
        assert_eq!(shown(&holes, minutes(170)), Some((6, 70)));
    }

    #[test]
    fn an_hour_without_one_ends_it() {
        let mut holes = Holes::default();
        assert!(holes.add(3, minutes(100)));
        assert_eq!(shown(&holes, minutes(159)), Some((3, 59)));
        assert_eq!(shown(&holes, minutes(160)), None);
        assert!(!holes.add(1, minutes(160)));
        assert_eq!(shown(&holes, minutes(160)), None);
    }

    #[test]
    fn a_few_in_a_long_time_are_no_sign() {
        let mut holes = Holes::default();
        for hour in 1..20 {
            assert!(!holes.add(2, minutes(60 * hour)));
        }
        assert_eq!(shown(&holes, minutes(60 * 20)), None);
    }

    #[test]
    fn whole_knocks_that_outnumber_them_are_a_sign_of_the_contrary() {
        let mut holes = Holes::default();
        for _ in 0..10 {
            holes.add_whole(minutes(100));
        }
        assert!(!holes.add(9, minutes(110)));
        assert_eq!(shown(&holes, minutes(110)), None);
        assert!(holes.add(1, minutes(111)));
        assert_eq!(shown(&holes, minutes(111)), Some((10, 1)));
        // Somebody has corrected the balancer.
        holes.add_whole(minutes(112));
        assert_eq!(shown(&holes, minutes(112)), None);
    }

    #[test]
    fn one_whole_knock_in_a_new_hour_is_enough() {
        let mut holes = Holes::default();
        assert!(holes.add(50, minutes(100)));
        holes.add_whole(minutes(130));
        assert_eq!(shown(&holes, minutes(130)), Some((50, 30)));
        holes.add_whole(minutes(159));
        assert_eq!(shown(&holes, minutes(159)), Some((50, 59)));
        holes.add(1, minutes(159));
        holes.add_whole(minutes(160));
        assert_eq!(shown(&holes, minutes(160)), None);
    }
}
