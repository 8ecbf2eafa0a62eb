//! A clock that stands still while others have the processor.

use std::time::Duration;

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

/// The processor time of this thread, with the kernel's for it and with the interrupts that
/// came meanwhile.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // It begins at zero and runs forward.
    time.try_into().unwrap_or_default()
}

/// Nanoseconds of this thread for each of the `count` things that `work` does.
pub(crate) fn per_each(count: u32, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = thread_time();
    work()?;
    let spent = thread_time() - begun;
    Ok(spent.as_secs_f64() * 1e9 / f64::from(count))
}
