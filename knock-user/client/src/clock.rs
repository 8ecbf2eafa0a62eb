//! The clock that gives a knock its time.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use thiserror::Error;

/// What is added to a host's clock that is wrong: `30s`, `+30s` or `-2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    ahead: bool,
    by: Duration,
}

/// The text is not a valid [`Offset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a duration with a sign, such as +30s or -2h")]
pub struct InvalidOffset;

impl Offset {
    /// Nothing.
    pub const ZERO: Self = Self {
        ahead: true,
        by: Duration::ZERO,
    };
}

impl FromStr for Offset {
    type Err = InvalidOffset;

    fn from_str(text: &str) -> Result<Self, InvalidOffset> {
        let (ahead, amount) = match text.strip_prefix('-') {
            Some(amount) => (false, amount),
            None => (true, text.strip_prefix('+').unwrap_or(text)),
        };
        let by = humantime::parse_duration(amount).map_err(|_| InvalidOffset)?;
        Ok(Self { ahead, by })
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.ahead { '+' } else { '-' };
        write!(f, "{sign}{}", humantime::format_duration(self.by))
    }
}

/// A clock that is ready to be read.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Reading);

#[derive(Clone, Copy, Debug)]
enum Reading {
    System(Offset),
    /// The time since 1970 at an instant.
    Anchored(Duration, Instant),
}

impl Clock {
    /// The host's own clock.
    pub const SYSTEM: Self = Self::with_offset(Offset::ZERO);

    /// The host's own clock and `offset`.
    #[must_use]
    pub const fn with_offset(offset: Offset) -> Self {
        Self(Reading::System(offset))
    }

    /// A clock that showed `since_1970` at an instant, and runs on with the monotonic clock.
    #[must_use]
    #[cfg_attr(
        not(any(feature = "program", test)),
        expect(dead_code, reason = "only the program asks others for the time")
    )]
    pub const fn anchored(since_1970: Duration, at: Instant) -> Self {
        Self(Reading::Anchored(since_1970, at))
    }

    /// The time since 1970; `None` if it is before.
    #[must_use]
    pub fn since_1970(&self) -> Option<Duration> {
        match self.0 {
            Reading::System(Offset { ahead: true, by }) => SystemTime::now().checked_add(by)?,
            Reading::System(Offset { ahead: false, by }) => SystemTime::now().checked_sub(by)?,
            Reading::Anchored(then, at) => return then.checked_add(at.elapsed()),
        }
        .duration_since(UNIX_EPOCH)
        .ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_offset_has_a_sign() {
        for (text, shown) in [
            ("30s", "+30s"),
            ("+90s", "+1m 30s"),
            ("-2h", "-2h"),
            ("-1500ms", "-1s 500ms"),
            ("0s", "+0s"),
        ] {
            assert_eq!(text.parse::<Offset>().unwrap().to_string(), shown);
        }
        for text in ["", "+", "-", "30", "--2h", "+-2h", "- 2h?", "two hours"] {
            assert_eq!(text.parse::<Offset>(), Err(InvalidOffset), "{text}");
        }
    }

    #[test]
    fn an_offset_moves_the_clock() {
        let now = || Clock::SYSTEM.since_1970().unwrap();
        let moved = |text: &str| Clock::with_offset(text.parse().unwrap()).since_1970();
        let hour = Duration::from_secs(3600);
        let second = Duration::from_secs(1);
        let (ahead, behind) = (moved("+1h").unwrap(), moved("-1h").unwrap());
        assert!((ahead - hour).abs_diff(now()) < second, "{ahead:?}");
        assert!((behind + hour).abs_diff(now()) < second, "{behind:?}");
        assert_eq!(moved("-3000y"), None);
    }

    #[test]
    fn an_anchored_clock_runs() {
        let hour = Duration::from_secs(3600);
        let clock = Clock::anchored(hour, Instant::now() - Duration::from_secs(5));
        let shown = clock.since_1970().unwrap();
        assert!(shown >= hour + Duration::from_secs(5), "{shown:?}");
        assert!(shown < hour + Duration::from_secs(6), "{shown:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            if let Ok(offset) = text.parse::<Offset>() {
                prop_assert_eq!(offset.to_string().parse(), Ok(offset));
            }
        }
    }
}
