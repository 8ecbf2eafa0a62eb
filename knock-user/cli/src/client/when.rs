//! Points in time, as a person writes them.

use std::{str::FromStr, time::Duration};

use humantime::parse_duration;
use knockd_types::utc;
use toml_edit::Datetime;

/// The longest duration: a century. More is a mistake, and a year has four digits.
const LONGEST: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

/// When something ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    /// It does not end.
    Never,
    /// It ends at this time, which has a date and an offset from UTC.
    At(Datetime),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => return Ok(Self::Never),
            "now" => return Ok(Self::At(after(Duration::ZERO)?)),
            _ => {}
        }
        if let Ok(duration) = parse_duration(text) {
            return Ok(Self::At(after(duration)?));
        }
        match text.parse::<Datetime>() {
            Ok(Datetime {
                date: Some(date),
                time: None,
                ..
            }) => at(&format!("{date}T00:00:00Z")).map(Self::At),
            Ok(at) if at.date.is_some() && at.offset.is_some() => Ok(Self::At(at)),
            Ok(at) if at.date.is_some() => Err(format!(
                "its offset from UTC is missing, as in {at}Z or {at}+01:00"
            )),
            _ => Err("write `now`, `never`, a duration such as 30d, or a date such as 2027-01-01 or 2027-01-01T12:00:00Z".into()),
        }
    }
}

/// The time in `duration` from now, in whole seconds.
///
/// # Errors
///
/// Returns an error if that is more than a century.
pub(super) fn after(duration: Duration) -> Result<Datetime, String> {
    if duration > LONGEST {
        return Err("this is more than a century".into());
    }
    at(&utc::seconds(utc::now() + duration))
}

fn at(text: &str) -> Result<Datetime, String> {
    text.parse::<Datetime>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> String {
        match text.parse().unwrap() {
            When::At(at) => at.to_string(),
            When::Never => "never".into(),
        }
    }

    #[test]
    fn a_date_is_taken_as_it_is_and_begins_at_midnight_utc() {
        for (text, expected) in [
            ("never", "never"),
            ("2027-01-01", "2027-01-01T00:00:00Z"),
            ("2027-01-01T12:30:00+02:00", "2027-01-01T12:30:00+02:00"),
            ("2027-01-01 12:30:00Z", "2027-01-01T12:30:00Z"),
        ] {
            assert_eq!(at(text), expected);
        }
    }

    #[test]
    fn a_duration_counts_from_now() {
        let parse = |text: &str| utc::parse(&at(text)).unwrap();
        let before = utc::now() - Duration::from_secs(1);
        let (now, later) = (parse("now"), parse("30d"));
        assert!(now > before && now <= utc::now());
        let days = Duration::from_secs(30 * 24 * 60 * 60);
        assert!(later >= now + days && later <= utc::now() + days);
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_way_out() {
        for (text, reason) in [
            ("", "write `now`"),
            ("soon", "write `now`"),
            ("12:00:00", "write `now`"),
            ("2027-13-01", "write `now`"),
            ("2027-01-01T12:00:00", "2027-01-01T12:00:00Z"),
            ("101years", "more than a century"),
        ] {
            let error = text.parse::<When>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
