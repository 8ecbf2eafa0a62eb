//! Times as text.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A time since 1970 in whole seconds: RFC 3339, UTC. Also after 2038 on a 32-bit machine.
pub(crate) fn utc(since_1970: Duration) -> String {
    let seconds = i64::try_from(since_1970.as_secs()).ok();
    let time = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| "a time after the year 9999".to_owned())
}
