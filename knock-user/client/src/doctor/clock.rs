//! The clock of this host.

use std::time::Duration;

use anyhow::Result;

use super::{report::Report, subject::Subject};
use crate::{clock::Clock, time_source::TimeSource, utc::utc};

/// The `max_skew` of a server, unless it is configured otherwise.
const ACCEPTED: Duration = Duration::from_secs(60);

/// The difference that is worth a warning: what is left of [`ACCEPTED`] goes fast.
const NOTABLE: Duration = Duration::from_secs(30);

/// Compares the clock that a knock would use with that of the server in `asked`, if it is one.
pub(super) fn examine(
    asked: Option<&TimeSource>,
    subject: Option<&Subject>,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    let own = match subject.map(|subject| &subject.time) {
        Some(TimeSource::Offset(offset)) => Clock::with_offset(*offset),
        Some(TimeSource::Ntp(service)) if asked.is_none() => {
            return report.ok(
                "clock",
                &format!("knocks take the time from ntp:{service}, not from this host"),
            );
        }
        _ => Clock::SYSTEM,
    };
    let Some(shown) = own.since_1970() else {
        return report.problem(
            "clock",
            "it shows a time before 1970",
            "set it, best with NTP",
        );
    };
    let Some(source @ TimeSource::Ntp(service)) = asked else {
        let shown = utc(shown);
        return report.ok(
            "clock",
            &format!("it shows {shown} and was not compared (--time ntp:HOST asks a server)"),
        );
    };
    let service = format!("ntp:{service}");
    report
        .console
        .wait(&format!("asking {service} for the time"));
    let true_time = source.clock();
    report.console.quiet();
    let (true_time, own) = match true_time {
        Ok(clock) => (clock.since_1970(), own.since_1970()),
        Err(error) => {
            return report.warning(
                "clock",
                &format!("{:#}", anyhow::Error::from(error)),
                "compare the clock by hand, or ask another server",
            );
        }
    };
    let (true_time, own) = (true_time.unwrap_or_default(), own.unwrap_or_default());
    compare(own, true_time, &service, report)
}

fn compare(
    own: Duration,
    true_time: Duration,
    service: &str,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    let by = own.abs_diff(true_time);
    let side = if own > true_time {
        "ahead of"
    } else {
        "behind"
    };
    let shown = humantime::format_duration(Duration::from_secs(by.as_secs()));
    let message = format!("{shown} {side} {service}");
    let next = "set it, best with NTP; where that cannot be done, knock with --time";
    if by >= ACCEPTED {
        let message =
            format!("{message}, and a server accepts 1m unless it says otherwise (max_skew)");
        report.problem("clock", &message, next)
    } else if by >= NOTABLE {
        report.warning("clock", &message, next)
    } else {
        report.ok("clock", &message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{report::Level, tests::findings};

    #[test]
    fn a_time_has_a_text_whatever_the_offset_is() {
        assert_eq!(
            utc(Duration::from_secs(253_402_300_799)),
            "9999-12-31T23:59:59Z"
        );
        for later in [Duration::from_secs(253_402_300_800), Duration::MAX] {
            assert!(utc(later).contains("after the year 9999"));
        }
    }

    #[test]
    fn a_clock_may_be_off_by_less_than_a_minute() {
        let now = Duration::from_secs(1_800_000_000);
        for (off, level, text) in [
            (0, Level::Ok, "0s"),
            (29, Level::Ok, "29s ahead of"),
            (-30, Level::Warning, "30s behind"),
            (60, Level::Problem, "1m ahead of"),
            (-86_400, Level::Problem, "1day behind"),
        ] {
            let own = Duration::from_secs(1_800_000_000_u64.checked_add_signed(off).unwrap());
            let found = findings(|report| compare(own, now, "ntp:192.0.2.1", report));
            assert_eq!(found[0].level, level, "{found:?}");
            assert!(found[0].message.starts_with(text), "{found:?}");
        }
    }
}
