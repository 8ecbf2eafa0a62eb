//! The log: one entry per line or datagram, as text, as JSON or in the journal's own way.
//!
//! What an entry says may come from the configuration, from a command or from the network.
//! In no format can it end the entry that it is in, or begin a field.

mod entry;
mod escape;
mod event;
mod journal;
mod json;

use std::{
    env,
    io::IsTerminal as _,
    sync::{Arc, OnceLock},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{format, format::Writer},
};

pub use self::{
    entry::EVENT,
    escape::legible,
    event::{log_event, log_event_at},
};
use self::{escape::one_line, journal::Journal, json::Json};

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Format {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
    /// Entries with fields, in systemd's journal
    Journal,
}

/// How the log of a process is written, for another one that is to do the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Choice {
    level: String,
    format: Format,
}

static CHOSEN: OnceLock<Choice> = OnceLock::new();

/// How the log of this process is written.
#[must_use]
pub fn chosen() -> Choice {
    CHOSEN.get().cloned().unwrap_or(Choice {
        level: LevelFilter::INFO.to_string(),
        format: Format::Text,
    })
}

/// Sends the log of this process where that of another one goes.
pub fn init_like(choice: &Choice) {
    let level = choice.level.parse().unwrap_or(LevelFilter::INFO);
    let _ = init(level, Some(choice.format));
}

/// Sends the log of this process to standard error or to the journal, and says in which
/// format it is written: `format`, or by default the journal's if standard error goes there,
/// and text in every other case. Text also stands in for a journal that is not there.
pub fn init(level: LevelFilter, format: Option<Format>) -> Format {
    let format = begin(level, format);
    // The first one counts, which is the only one.
    let _ = CHOSEN.set(Choice {
        level: level.to_string(),
        format,
    });
    format
}

fn begin(level: LevelFilter, format: Option<Format>) -> Format {
    let to_journal = stderr_is_journal();
    let default = if to_journal {
        Format::Journal
    } else {
        Format::Text
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        // There is nowhere left to tell that the log cannot be written.
        .log_internal_errors(false)
        .with_ansi(false);
    let format = format.unwrap_or(default);
    match format {
        Format::Json => {
            log.event_format(Json).with_writer(std::io::stderr).init();
            return format;
        }
        Format::Journal => {
            if let Ok(journal) = Journal::connect() {
                log.event_format(journal::Entries)
                    .with_writer(Arc::new(journal))
                    .init();
                return format;
            }
        }
        Format::Text => {}
    }
    let text = log
        .with_target(false)
        .with_ansi(wants_colours())
        .fmt_fields(format::debug_fn(text_field))
        .with_writer(std::io::stderr);
    // The journal has its own clock.
    if to_journal {
        text.without_time().init();
    } else {
        text.init();
    }
    Format::Text
}

/// The message says everything that the fields do.
fn text_field(
    writer: &mut Writer<'_>,
    field: &tracing::field::Field,
    value: &dyn std::fmt::Debug,
) -> std::fmt::Result {
    if field.name() == "message" {
        writer.write_str(&one_line(&format!("{value:?}")))?;
    }
    Ok(())
}

/// `JOURNAL_STREAM` is inherited by every child of a service; only what it says tells whether
/// standard error is that stream still (systemd.exec(5)).
fn stderr_is_journal() -> bool {
    let (Ok(stream), Ok(stderr)) = (
        env::var("JOURNAL_STREAM"),
        rustix::fs::fstat(std::io::stderr()),
    ) else {
        return false;
    };
    stream == format!("{}:{}", stderr.st_dev, stderr.st_ino)
}

/// Not in a file or a pipe, and not where <https://no-color.org> is asked for.
fn wants_colours() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}

#[cfg(test)]
mod tests;
