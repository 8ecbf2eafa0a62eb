//! How fast the packets of a knock follow each other, and the number of copies.

use std::{fmt, str::FromStr, time::Duration};

use thiserror::Error;

/// How fast the packets of a knock follow each other, and the number of copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The delay between two SYNs, or between two copies of a datagram.
    pub delay: Delay,
    /// How many times all 16 SYNs, or the datagram, are sent.
    pub copies: Copies,
}

impl Pace {
    /// Of a SYN knock, unless told otherwise.
    pub const SYNS: Self = Self {
        delay: Delay(Duration::from_millis(2)),
        copies: Copies::DEFAULT,
    };

    /// Of a datagram knock, unless told otherwise. One of four copies arrives with 99.8 % where
    /// one packet in five is lost. The delay lets the last one leave within 5 ms of the start of
    /// the program, of which the start itself takes two.
    pub const DATAGRAMS: Self = Self {
        delay: Delay(Duration::from_micros(750)),
        copies: Copies(4),
    };
}

/// The delay between two packets of a knock: at most [`Delay::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay(Duration);

/// Why a text is not a valid [`Delay`].
#[derive(Debug, Error)]
pub enum InvalidDelay {
    /// It is not a duration.
    #[error("{0}; expected a duration such as 2ms")]
    Syntax(humantime::DurationError),
    /// It is longer than [`Delay::MAX`].
    #[error("must be at most 500ms, because the daemon waits 15 s for all 16 SYNs")]
    TooLong,
}

impl Delay {
    /// The maximum delay. 16 SYNs then take 7.5 s, which leaves time for a slow network within the
    /// daemon's default timeout of 15 s (docs/protocol.md, "Assembly on the server"). It also ensures
    /// that each socket is closed before the system retransmits its SYN.
    pub const MAX: Duration = Duration::from_millis(500);

    /// The delay as a duration.
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

/// How many times all 16 SYNs, or the datagram, are sent: 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies(u8);

/// The text is not a number from 1 to 8.
#[derive(Debug, Error)]
#[error("must be a number from 1 to {}", Copies::MAX)]
pub struct InvalidCopies;

impl Copies {
    /// Of a SYN knock. The second and third copy compensate for loss: with 10 % packet loss, 98 of
    /// 100 knocks arrive, but only 85 with one further copy.
    pub const DEFAULT: Self = Self(3);

    /// More copies would not help on a network with such loss, and would look like a flood.
    pub const MAX: u8 = 8;

    /// The number of copies.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
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
