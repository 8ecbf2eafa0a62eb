//! The age of a request.

use core::{fmt, time::Duration};

/// The time of a request differs too much from the daemon's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The request's age in milliseconds; negative if its time is in the future.
    pub age_ms: i64,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = Duration::from_millis(self.age_ms.unsigned_abs());
        if self.age_ms < 0 {
            write!(f, "{age:.3?} ahead of this clock")
        } else {
            write!(f, "stale by {age:.3?}")
        }
    }
}

impl core::error::Error for Stale {}

/// Checks that a request that is `age_ms` milliseconds old is neither older nor younger than
/// `max_skew` allows.
pub(super) const fn check_age(age_ms: i64, max_skew: Duration) -> Result<(), Stale> {
    if age_ms.unsigned_abs() as u128 <= max_skew.as_millis() {
        Ok(())
    } else {
        Err(Stale { age_ms })
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn the_text_tells_past_and_future_apart() {
        let stale = |age_ms| Stale { age_ms }.to_string();
        assert_eq!(stale(75_250), "stale by 75.250s");
        assert_eq!(stale(-3_600_000), "3600.000s ahead of this clock");
    }

    #[test]
    fn the_edge_is_fresh() {
        let skew = Duration::from_secs(60);
        for age_ms in [0, 60_000, -60_000] {
            assert_eq!(check_age(age_ms, skew), Ok(()));
        }
        for age_ms in [60_001, -60_001, i64::MIN, i64::MAX] {
            assert_eq!(check_age(age_ms, skew), Err(Stale { age_ms }));
        }
        assert_eq!(check_age(i64::MIN, Duration::MAX), Ok(()));
    }
}
