//! The kernel's monotonic clocks and the wall clock.

use std::{mem::MaybeUninit, time::Duration};

use knockd_types::{history::Moment, utc};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep_until};

/// A larger difference between monotonic and wall clock steps is not drift: the wall clock was set.
const JUMP: Duration = Duration::from_secs(2);

/// The time on `CLOCK_MONOTONIC`, the clock of the eBPF program's event timestamps. Setting the
/// wall clock does not affect it.
#[must_use]
pub fn monotonic() -> Duration {
    now(ClockId::Monotonic)
}

/// The time on `CLOCK_BOOTTIME`, the clock of the gate's leases: [`monotonic`] plus the time that
/// the machine was suspended.
#[must_use]
pub fn boottime() -> Duration {
    now(ClockId::Boottime)
}

fn now(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    // These clocks start at zero and never go back.
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

/// Waits until `deadline` on the clock of [`monotonic`], or forever without a deadline.
pub async fn sleep_until_monotonic(deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => {
            let wait = deadline.saturating_sub(monotonic());
            sleep_until(Instant::now() + wait).await;
        }
        None => std::future::pending().await,
    }
}

/// The wall clock in Unix milliseconds; 0 before 1970.
#[must_use]
pub fn unix_ms() -> u64 {
    u64::try_from(utc::now().as_millis()).unwrap_or(u64::MAX)
}

/// The time of this moment in the time zone of this process, in whole seconds, such as
/// `2027-01-15 09:00:00`.
#[must_use]
pub fn local(moment: Moment) -> String {
    let Some(time) = broken_down(moment.unix_ms() / 1000) else {
        return moment.to_string();
    };
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        time.tm_year + 1900,
        time.tm_mon + 1,
        time.tm_mday,
        time.tm_hour,
        time.tm_min,
        time.tm_sec
    )
}

/// A time in Unix seconds, in the time zone of this process. `None` if the C library cannot represent
/// it: a static program for 32-bit ARM counts 32 bits, until 2038.
fn broken_down(unix_s: u64) -> Option<libc::tm> {
    // The type differs between C libraries, and musl's name for it is deprecated.
    let time = unix_s.try_into().ok()?;
    let mut result = MaybeUninit::uninit();
    // SAFETY: both pointers are valid, and nothing in this program changes its environment.
    let written = unsafe { libc::localtime_r(&raw const time, result.as_mut_ptr()) };
    // SAFETY: the result is written unless the function returns null.
    (!written.is_null()).then(|| unsafe { result.assume_init() })
}

/// Detects that the wall clock was set. It decides whether knocks are fresh.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// The wall-clock time at monotonic zero, in Unix milliseconds.
    epoch: i128,
}

impl WallClock {
    /// A detector that starts with the wall clock at `unix_ms` and the monotonic clock at
    /// `monotonic`.
    #[must_use]
    pub fn new(unix_ms: u64, monotonic: Duration) -> Self {
        Self {
            epoch: epoch(unix_ms, monotonic),
        }
    }

    /// By how many milliseconds the wall clock was set since the last call; positive is forward.
    /// `None` if it was not set.
    pub fn jumped(&mut self, unix_ms: u64, monotonic: Duration) -> Option<i128> {
        let epoch = epoch(unix_ms, monotonic);
        let jump = epoch - self.epoch;
        self.epoch = epoch;
        (jump.unsigned_abs() >= JUMP.as_millis()).then_some(jump)
    }
}

fn epoch(unix_ms: u64, monotonic: Duration) -> i128 {
    i128::from(unix_ms) - i128::try_from(monotonic.as_millis()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_time_is_that_of_utc_by_a_whole_number_of_minutes() {
        let text = local(Moment::from_unix_ms(1_800_000_007_999));
        assert!(
            text.starts_with("2027-01-1") && text.ends_with(":07"),
            "{text}"
        );
        assert!(local(Moment::from_unix_ms(u64::MAX)).contains(":59"));
    }

    #[test]
    fn a_set_clock_is_noticed_once() {
        let at = Duration::from_secs;
        let mut clock = WallClock::new(1_000_000, at(10));
        assert_eq!(clock.jumped(1_005_000, at(15)), None);
        assert_eq!(clock.jumped(1_010_900, at(20)), None, "drift");
        assert_eq!(clock.jumped(4_615_000, at(25)), Some(3_599_100));
        assert_eq!(clock.jumped(4_616_000, at(26)), None);
        assert_eq!(clock.jumped(1_000_000, at(27)), Some(-3_617_000));
    }
}
