//! Collects the log lines of a loaded XDP program.

use std::sync::{Arc, Mutex, PoisonError};

use log::{Log, Metadata, Record};

/// Collects the lines that the loader passes to its logger. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct KernelLog(Arc<Mutex<Vec<String>>>);

impl KernelLog {
    /// A logger for `Xdp::load` that discards all lines.
    #[must_use]
    pub fn discarded() -> Box<dyn Log> {
        Self::default().logger()
    }

    /// The logger for `Xdp::load`.
    #[must_use]
    pub fn logger(&self) -> Box<dyn Log> {
        Box::new(self.clone())
    }

    /// Removes and returns the lines collected since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Log for KernelLog {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(record.args().to_string());
    }

    fn flush(&self) {}
}
