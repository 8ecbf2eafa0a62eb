//! Times of the wall clock as text: RFC 3339, UTC, from 1970 to 9999, also on 32-bit machines.

use std::{
    num::NonZero,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use time::{
    OffsetDateTime,
    format_description::well_known::{
        Iso8601, Rfc3339,
        iso8601::{Config, EncodedConfig, TimePrecision},
    },
};

/// A text that is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a time in RFC 3339 from 1970 on")]
pub struct NoTime;

/// The last nanosecond that has a text.
const LAST: u128 = 253_402_300_799_999_999_999;

const SECONDS: EncodedConfig = with_digits(0);
const MILLIS: EncodedConfig = with_digits(3);
const MICROS: EncodedConfig = with_digits(6);

const fn with_digits(digits: u8) -> EncodedConfig {
    Config::DEFAULT
        .set_time_precision(TimePrecision::Second {
            decimal_digits: NonZero::new(digits),
        })
        .encode()
}

/// A time since 1970 in whole seconds, or the last one that has a text.
#[must_use]
pub fn seconds(since_1970: Duration) -> String {
    text::<SECONDS>(since_1970)
}

/// A time since 1970 in milliseconds, or the last one that has a text.
#[must_use]
pub fn millis(since_1970: Duration) -> String {
    text::<MILLIS>(since_1970)
}

/// A time since 1970 in microseconds, or the last one that has a text.
#[must_use]
pub fn micros(since_1970: Duration) -> String {
    text::<MICROS>(since_1970)
}

/// The time since 1970 by the clock, or zero before that.
#[must_use]
pub fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// The time since 1970 that `text` is.
///
/// # Errors
///
/// Returns an error if it is not RFC 3339, or before 1970.
pub fn parse(text: &str) -> Result<Duration, NoTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NoTime)?;
    let seconds = u64::try_from(time.unix_timestamp()).map_err(|_| NoTime)?;
    Ok(Duration::new(seconds, time.nanosecond()))
}

fn text<const CONFIG: EncodedConfig>(since_1970: Duration) -> String {
    let nanos = i128::try_from(since_1970.as_nanos().min(LAST)).unwrap_or_default();
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos);
    // It is in the range that has a text.
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Iso8601::<CONFIG>).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_after_2038_have_a_text_and_are_read_from_it() {
        for (nanos, expected) in [
            (0, ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"]),
            (
                1_518_563_312_123_456_789,
                ["2018-02-13T23:08:32Z", "2018-02-13T23:08:32.123Z"],
            ),
            (
                4_102_444_800_000_000_000,
                ["2100-01-01T00:00:00Z", "2100-01-01T00:00:00.000Z"],
            ),
            (
                253_402_300_799_999_999_999,
                ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z"],
            ),
        ] {
            let time = Duration::from_nanos_u128(nanos);
            assert_eq!([seconds(time), millis(time)], expected);
            assert_eq!(parse(&seconds(time)).unwrap().as_secs(), time.as_secs());
            assert_eq!(parse(&millis(time)).unwrap().as_millis(), time.as_millis());
            assert_eq!(parse(&micros(time)).unwrap().as_micros(), time.as_micros());
        }
        assert_eq!(seconds(Duration::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        for text in [
            "",
            "2027-01-01",
            "2027-01-01T00:00:00",
            "2027-02-29T00:00:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(text), Err(NoTime), "{text}");
        }
    }
}
