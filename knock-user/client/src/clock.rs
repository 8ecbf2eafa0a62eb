//! The clock that gives a knock its time.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use thiserror::Error;

use crate::{
    ntp,
    service::{InvalidService, Service, ServiceError},
};

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

/// Where the time of a knock comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TimeSource {
    /// This host's clock.
    #[default]
    System,
    /// This host's clock and an offset.
    Offset(Offset),
    /// An NTP server.
    Ntp(Service),
}

/// Why a text is not a valid [`TimeSource`].
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InvalidTimeSource {
    /// It is of no known kind.
    #[error("expected `system` or ntp:HOST")]
    Kind,
    /// The server is invalid.
    #[error("{0}")]
    Service(InvalidService),
}

/// The name of a source; an offset has none.
impl FromStr for TimeSource {
    type Err = InvalidTimeSource;

    fn from_str(text: &str) -> Result<Self, InvalidTimeSource> {
        match text.strip_prefix("ntp:") {
            Some(service) => Service::parse(service, ntp::PORT)
                .map(Self::Ntp)
                .map_err(InvalidTimeSource::Service),
            None if text == "system" => Ok(Self::System),
            None => Err(InvalidTimeSource::Kind),
        }
    }
}

impl TimeSource {
    /// The clock. An NTP server is asked for the time, which may take seconds.
    ///
    /// # Errors
    ///
    /// Returns [`NoTime`] if the server does not tell the time.
    pub fn clock(&self) -> Result<Clock, NoTime> {
        match self {
            Self::System => Ok(Clock::SYSTEM),
            Self::Offset(offset) => Ok(Clock::with_offset(*offset)),
            // Runs on with the monotonic clock, so that a correction of the wall clock meanwhile
            // does not matter.
            Self::Ntp(service) => match ntp::time(service) {
                Ok((since_1970, at)) => Ok(Clock::anchored(since_1970, at)),
                Err(source) => Err(NoTime {
                    service: service.clone(),
                    source,
                }),
            },
        }
    }
}

/// An NTP server does not tell the time.
#[derive(Debug, Error)]
#[error("no time from ntp:{service}; without it, use --time system or --time-offset")]
pub struct NoTime {
    service: Service,
    source: ServiceError,
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

    #[test]
    fn a_source_is_the_system_or_a_server() {
        assert_eq!("system".parse(), Ok(TimeSource::System));
        let Ok(TimeSource::Ntp(service)) = "ntp:pool.ntp.org".parse() else {
            panic!("no server");
        };
        assert_eq!(service.to_string(), "pool.ntp.org:123");
        for text in ["", "ntp", "ntp:", "pool.ntp.org", "ntp:host:0", "-2h"] {
            assert!(text.parse::<TimeSource>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_server_that_tells_no_time_is_named_with_the_ways_out() {
        let address = crate::testing::respond(|_, _| {});
        let source: TimeSource = format!("ntp:{address}").parse().unwrap();
        let error = format!("{:#}", anyhow::Error::from(source.clock().unwrap_err()));
        let expected = format!("no time from ntp:{address}; without it, use --time system");
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.ends_with("no answer within 2 s"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = text.parse::<TimeSource>();
            if let Ok(offset) = text.parse::<Offset>() {
                prop_assert_eq!(offset.to_string().parse(), Ok(offset));
            }
        }
    }
}
