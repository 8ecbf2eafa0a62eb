//! What the supervisor reports: to the log, and through the listener to `tail` subscribers.

use knockd_runtime::log::log_event;
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
}

/// Log lines of the XDP program become events.
impl log::Log for Reporter {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let message = record.args().to_string();
        self.report(match record.level() {
            // The gate's lines are the only ones of this level.
            log::Level::Warn => Event::Observed { message },
            _ => Event::Kernel { message },
        });
    }

    fn flush(&self) {}
}
