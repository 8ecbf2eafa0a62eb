//! Where the time of a knock comes from: the clock of this host, or that of a server.

use std::str::FromStr;

use thiserror::Error;

use crate::{
    clock::{Clock, Offset},
    ntp,
    service::{InvalidService, Service, ServiceError},
};

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        }
    }
}
