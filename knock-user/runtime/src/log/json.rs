//! Writes log entries as one JSON object per line.

use std::{fmt, fmt::Write as _};

use knock_common::legible::misleads;
use knockd_types::utc;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::log::{entry::Entry, stderr::Lost};

/// Formats an entry as an object with `time`, `level`, `message` and the event's fields.
#[derive(Debug)]
pub(super) struct Json;

#[derive(Serialize)]
struct Line<'a> {
    /// RFC 3339, UTC, milliseconds.
    time: String,
    level: &'a str,
    message: &'a str,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let entry = Entry::of(event);
        let line = Line {
            time: now(),
            level: &event.metadata().level().as_str().to_ascii_lowercase(),
            message: &entry.message,
            fields: &entry.fields,
        };
        let json = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writer.write_str(&ascii_where_it_matters(&json))?;
        writer.write_char('\n')
    }
}

/// The line that reports `lost` entries.
pub(super) fn notice(lost: &Lost) -> String {
    let line = Line {
        time: now(),
        level: "warn",
        message: &lost.to_string(),
        fields: &Map::new(),
    };
    // There is nothing in it that cannot be written.
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

fn now() -> String {
    utc::millis(utc::now())
}

/// Escapes characters that JSON permits in strings but that line readers or terminals interpret.
fn ascii_where_it_matters(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if misleads(c) {
            // All of these characters have at most four hexadecimal digits.
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line
}
