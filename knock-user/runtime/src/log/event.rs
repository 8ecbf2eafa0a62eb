//! Events of the daemon as entries of the log.

use knockd_types::event::Event;
use tracing::Level;

use super::EVENT;

/// Logs `event` at its level. Events that only `tail` subscribers get are not logged.
pub fn log_event(event: &Event) {
    if let Some(level) = level(event) {
        log_event_at(event, level);
    }
}

/// Logs `event` at `level`.
pub fn log_event_at(event: &Event, level: Level) {
    // tracing fixes the level of an entry at compile time.
    macro_rules! log_at {
        ($($level:ident),+) => {
            match level {
                // The macro evaluates the field only if the level is enabled.
                $(Level::$level => {
                    tracing::event!(Level::$level, { EVENT } = json(event), "{event}");
                })+
            }
        };
    }
    log_at!(ERROR, WARN, INFO, DEBUG, TRACE);
}

fn json(event: &Event) -> String {
    // Text and numbers: JSON can represent all of it.
    serde_json::to_string(event).unwrap_or_default()
}

/// The level of `event`; `None` for events that are not logged.
fn level(event: &Event) -> Option<Level> {
    match event {
        // The kernel writes these only while there is a `tail` subscriber, and only for it.
        Event::Following { .. } | Event::Lost { .. } | Event::Kernel { .. } => None,
        Event::Refused { .. }
        | Event::LeftOut { .. }
        | Event::Opening(_)
        | Event::Extended(_)
        | Event::OldKey { .. }
        | Event::Closed { .. }
        | Event::Gate { .. }
        | Event::Reloaded { .. }
        | Event::Observed { .. }
        | Event::Command { ok: true, .. } => Some(Level::INFO),
        Event::Command { ok: false, .. } => Some(Level::WARN),
        Event::Trouble { .. } => Some(Level::ERROR),
    }
}
