//! Points in time.

use knockd_types::utc;
use serde::Deserialize;
use toml::value::{Datetime, Offset, Time};

/// The first moment that RFC 3339 cannot express, in Unix milliseconds.
const YEAR_10_000: u64 = 253_402_300_800_000;

checked! {
    /// A point in time, in Unix milliseconds.
    Moment(u64) from "Datetime"
}

impl TryFrom<Datetime> for Moment {
    type Error = String;

    fn try_from(moment: Datetime) -> Result<Self, Self::Error> {
        let (Some(date), Some(time), Some(offset)) = (moment.date, moment.time, moment.offset)
        else {
            return Err(format!(
                "{moment} is not a date and time with an offset from UTC, such as 2027-01-01T00:00:00Z"
            ));
        };
        let out_of_range = || format!("{moment} is not between 1970 and 9999");
        let whole = Time {
            second: Some(time.second.unwrap_or_default()),
            ..time
        };
        let as_utc = utc::parse(&format!("{date}T{whole}Z"));
        let ms = as_utc.map_err(|_| out_of_range())?.as_millis();
        let ahead = match offset {
            Offset::Z => 0,
            Offset::Custom { minutes } => i64::from(minutes) * 60_000,
        };
        let ms = i64::try_from(ms).ok().map(|ms| ms - ahead);
        let ms = ms.and_then(|ms| u64::try_from(ms).ok());
        ms.filter(|ms| *ms < YEAR_10_000)
            .map(Self)
            .ok_or_else(out_of_range)
    }
}
