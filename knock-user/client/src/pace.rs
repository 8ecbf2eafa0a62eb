//! How fast and how often the SYNs of a knock are sent.

use std::{fmt, str::FromStr, time::Duration};

use thiserror::Error;

/// How fast and how often the SYNs of a knock are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The pause between two SYNs.
    pub delay: Delay,
    /// How often all 16 are sent.
    pub copies: Copies,
}

/// The pause between two SYNs: at most [`Delay::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay(Duration);

/// Why a text is no [`Delay`].
#[derive(Debug, Error)]
pub enum InvalidDelay {
    /// It is no duration.
    #[error("{0}; it is written like 2ms")]
    Syntax(humantime::DurationError),
    /// It is longer than [`Delay::MAX`].
    #[error("it is at most 500ms: the daemon waits 15 s for all 16")]
    TooLong,
}

impl Delay {
    /// The longest delay. 16 SYNs take 7.5 s with it, which leaves the daemon's default
    /// timeout of 15 s (README.md, "How the daemon assembles") room for a slow network; and
    /// no SYN waits so long for its socket to be closed that the system sends it again.
    pub const MAX: Duration = Duration::from_millis(500);

    /// The pause itself.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl TryFrom<Duration> for Delay {
    type Error = InvalidDelay;

    fn try_from(delay: Duration) -> Result<Self, InvalidDelay> {
        if delay > Self::MAX {
            return Err(InvalidDelay::TooLong);
        }
        Ok(Self(delay))
    }
}

impl FromStr for Delay {
    type Err = InvalidDelay;

    fn from_str(text: &str) -> Result<Self, InvalidDelay> {
        humantime::parse_duration(text)
            .map_err(InvalidDelay::Syntax)?
            .try_into()
    }
}

/// How often all 16 SYNs are sent: 1 to 8 times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies(u8);

/// A text that is no number from 1 to 8.
#[derive(Debug, Error)]
#[error("it is a number from 1 to {}", Copies::MAX)]
pub struct InvalidCopies;

impl Copies {
    /// Two copies as insurance against loss: of 100 knocks 98 arrive where one packet in ten is
    /// lost, and with a single one only 85 would.
    pub const DEFAULT: Self = Self(3);

    /// More would help nobody whose network loses that much, and look like a flood.
    pub const MAX: u8 = 8;

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Copies {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Copies {
    type Err = InvalidCopies;

    fn from_str(text: &str) -> Result<Self, InvalidCopies> {
        match text.parse() {
            Ok(copies @ 1..=Self::MAX) => Ok(Self(copies)),
            _ => Err(InvalidCopies),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_is_a_bounded_duration() {
        let millis = |text: &str| text.parse().map(|delay: Delay| delay.get().as_millis());
        assert_eq!(millis("2ms").unwrap(), 2);
        assert_eq!(millis("0").unwrap(), 0);
        assert_eq!(millis("500ms").unwrap(), 500);
        for text in ["501ms", "1s", "1h"] {
            assert!(matches!(millis(text), Err(InvalidDelay::TooLong)), "{text}");
        }
        for text in ["", "2", "ms", "-2ms", "2 lightyears"] {
            assert!(
                matches!(millis(text), Err(InvalidDelay::Syntax(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn copies_are_1_to_8() {
        for text in ["1", "2", "8"] {
            assert_eq!(text.parse::<Copies>().unwrap().to_string(), text);
        }
        for text in ["", "0", "9", "256", "-1", "two"] {
            assert!(text.parse::<Copies>().is_err(), "{text}");
        }
    }
}
