//! Reports of the supervisor: to the log, and through the listener to `tail` subscribers.

use std::time::Duration;

use knockd_ipc::message::{Effect, Message};
use knockd_runtime::{clock::monotonic, log::log_event};
use knockd_types::event::Event;

use crate::outbox::Outbox;

/// Reports events to the log and to the listener.
#[derive(Clone, Debug, Default)]
pub struct Reporter(Outbox);

impl Reporter {
    /// A reporter whose `tail` subscribers are reached through `outbox`.
    #[must_use]
    pub fn new(outbox: Outbox) -> Self {
        Self(outbox)
    }

    /// Reports `event`.
    pub fn report(&self, event: Event) {
        log_event(&event);
        self.0.notify(event);
    }

    /// Reports a problem that requires action by the administrator.
    pub(crate) fn problem(&self, message: String) {
        self.report(Event::Trouble { message });
    }

    /// Reports for the metrics that a knock has had `effect`. Its last packet arrived at `arrival`.
    pub(crate) fn latency(&self, effect: Effect, arrival: Duration) {
        let time = monotonic().saturating_sub(arrival);
        // The next message that must not be lost detects a listener that does not read.
        let _ = self.0.send(Message::Took(effect, time));
    }
}

/// Log lines of the XDP program become events.
impl log::Log for Reporter {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let message = record.args().to_string();
        self.report(match record.level() {
            // Only the gate's lines have this level.
            log::Level::Warn => Event::Observed { message },
            _ => Event::Kernel { message },
        });
    }

    fn flush(&self) {}
}
