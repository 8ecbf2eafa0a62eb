//! CPU time of this thread, which does not advance while other threads run.

use std::time::Duration;

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

/// The CPU time of this thread, in user and kernel mode, with the interrupts that it served.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // The clock starts at zero and is monotonic, so the conversion cannot fail.
    time.try_into().unwrap_or_default()
}

/// Nanoseconds of CPU time for each of the `count` operations of `work`.
pub(crate) fn per_each(count: u32, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = thread_time();
    work()?;
    let spent = thread_time() - begun;
    Ok(spent.as_secs_f64() * 1e9 / f64::from(count))
}
