//! Signals where there are none, such as on Windows.

use std::{
    io,
    process::{Child, ExitStatus},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

/// How often the command is checked, because nothing announces its end.
const POLL: Duration = Duration::from_millis(100);

/// Keeps this process alive while the command runs.
pub(super) struct Signals;

impl Signals {
    /// Handles Ctrl-C, which the console sends to the command too.
    pub(super) fn catch() -> io::Result<Self> {
        signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::<AtomicBool>::default())?;
        Ok(Self)
    }

    /// Waits a moment, but not longer than until `deadline`.
    pub(super) fn pass_on(&self, deadline: Instant, _child: &Child) {
        thread::sleep(POLL.min(deadline.saturating_duration_since(Instant::now())));
    }
}

/// Every command has a status here.
pub(super) fn by_signal(_status: ExitStatus) -> i32 {
    1
}
