//! The log: one entry per line or datagram, as text, as JSON, or in the native protocol of the
//! systemd journal.
//!
//! An entry may contain text from the configuration, from a command or from the network. In no
//! format can such text end the entry or begin a field.

mod entry;
mod escape;
mod event;
mod journal;
mod json;
mod stderr;

use std::{
    env,
    io::IsTerminal as _,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{format, format::Writer},
    layer::{Context, Layer, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

pub use self::{
    entry::EVENT,
    escape::legible,
    event::{log_event, log_event_at},
    stderr::never_block,
};
use self::{escape::one_line, journal::Journal, json::Json, stderr::Stderr};

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Format {
    /// Plain text lines
    Text,
    /// One JSON object per line
    Json,
    /// Entries with fields in the systemd journal
    Journal,
}

/// The log settings of a process, to be passed on to a child process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Choice {
    level: String,
    format: Format,
}

static CHOSEN: OnceLock<Choice> = OnceLock::new();

/// A connection to the journal that was made early.
static CONNECTED: Mutex<Option<Journal>> = Mutex::new(None);

/// Connects to the journal, for a process that may not be able to when its log settings are known.
pub fn connect() {
    *connected() = Journal::connect().ok();
}

fn connected() -> MutexGuard<'static, Option<Journal>> {
    CONNECTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The log settings of this process.
#[must_use]
pub fn chosen() -> Choice {
    CHOSEN.get().cloned().unwrap_or(Choice {
        level: LevelFilter::INFO.to_string(),
        format: Format::Text,
    })
}

/// Configures the log of this process with the settings of its parent, which has called
/// [`never_block`].
pub fn init_like(choice: &Choice) {
    stderr::never_block_like_parent();
    let level = choice.level.parse().unwrap_or(LevelFilter::INFO);
    let _ = init(level, Some(choice.format));
}

/// Sends the log of this process to standard error or to the journal, and returns the format.
/// Without `format` this is the journal's if standard error is connected to the journal, and text
/// otherwise. Text is also the fallback if the journal is unavailable.
pub fn init(level: LevelFilter, format: Option<Format>) -> Format {
    let format = begin(level, format);
    // Called once per process; a second call would have no effect.
    let _ = CHOSEN.set(Choice {
        level: level.to_string(),
        format,
    });
    format
}

fn begin(level: LevelFilter, format: Option<Format>) -> Format {
    let to_journal = stderr_is_journal();
    let early = connected().take();
    let default = if to_journal {
        Format::Journal
    } else {
        Format::Text
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        // If the log cannot be written, there is no place to report it.
        .log_internal_errors(false)
        .with_ansi(false);
    let format = format.unwrap_or(default);
    match format {
        Format::Json => {
            let stderr = Arc::new(Stderr::new(json::notice));
            let log = log.event_format(Json).with_writer(stderr);
            log.finish().with(Own).init();
            return format;
        }
        Format::Journal => {
            if let Some(journal) = early.or_else(|| Journal::connect().ok()) {
                let log = log.event_format(journal::Entries);
                let log = log.with_writer(Arc::new(journal));
                log.finish().with(Own).init();
                return format;
            }
        }
        Format::Text => {}
    }
    let text = log
        .with_target(false)
        .with_ansi(wants_colours())
        .fmt_fields(format::debug_fn(text_field))
        .with_writer(Arc::new(Stderr::new(stderr::notice)));
    // The journal adds its own timestamps.
    if to_journal {
        text.without_time().finish().with(Own).init();
    } else {
        text.finish().with(Own).init();
    }
    Format::Text
}

/// Leaves out what the client of NATS logs: the fleet process says it in its own words, and once.
struct Own;

impl<S: Subscriber> Layer<S> for Own {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !metadata.target().starts_with("async_nats")
    }
}

/// Writes the message only: it contains everything that the fields do.
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

/// Whether standard error is connected to the journal. Children of a service inherit
/// `JOURNAL_STREAM` even if standard error is redirected, so device and inode have to be compared
/// (systemd.exec(5)).
fn stderr_is_journal() -> bool {
    let (Ok(stream), Ok(stderr)) = (
        env::var("JOURNAL_STREAM"),
        rustix::fs::fstat(std::io::stderr()),
    ) else {
        return false;
    };
    stream == format!("{}:{}", stderr.st_dev, stderr.st_ino)
}

/// Whether to use colours: only on a terminal, and not if `NO_COLOR` is set
/// (<https://no-color.org>).
fn wants_colours() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}

#[cfg(test)]
mod tests;
