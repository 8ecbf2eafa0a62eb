//! A timer on the wall clock.

use std::{io, os::fd::OwnedFd};

use rustix::{
    io::{Errno, read},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use tokio::io::{Interest, unix::AsyncFd};

/// A timer on the wall clock, which also notices that the clock was set.
#[derive(Debug)]
pub struct WallTimer(AsyncFd<OwnedFd>);

impl WallTimer {
    /// A timer that is not set. Has to be called in a Tokio runtime.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel provides no timer.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        // SAFETY: an `OwnedFd` always returns the descriptor that it owns, and closes it only when
        // dropped.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        Ok(Self(timer.map_err(|error| error.into_parts().1)?))
    }

    /// Sets the timer to the time `at` in Unix milliseconds, in place of an earlier one. With `None`
    /// it does not fire. If the clock was set since the timer was read, `at` may be out of date, and it
    /// fires at once.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses the time.
    pub fn set(&self, at: Option<u64>) -> io::Result<()> {
        let at = at.map(|at| Timespec {
            tv_sec: i64::try_from(at / 1000).unwrap_or(i64::MAX),
            // Zero would not set the timer.
            tv_nsec: (at % 1000 * 1_000_000).max(1).cast_signed(),
        });
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        set_noticing(at.unwrap_or_default(), |at| {
            let time = Itimerspec {
                it_interval: Timespec::default(),
                it_value: at,
            };
            timerfd_settime(&self.0, flags, &time).map(drop)
        })
    }

    /// Waits until the timer fires, or until the clock is set while the timer is set too. After that
    /// it has to be set again. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Returns an error if the timer cannot be read.
    pub async fn fired(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let fired = ready.try_io(|timer| match read(timer, &mut [0; 8]) {
                // The clock was set.
                Ok(_) | Err(Errno::CANCELED) => Ok(()),
                Err(error) => Err(error.into()),
            });
            if let Ok(fired) = fired {
                return fired;
            }
        }
    }
}

/// Calls `set_time` with the time `at`. If the clock was set meanwhile, which it is told only once
/// (timerfd_create(2), NOTES), it calls it again with a time that is over.
fn set_noticing(
    at: Timespec,
    mut set_time: impl FnMut(Timespec) -> Result<(), Errno>,
) -> io::Result<()> {
    const AT_ONCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 1,
    };
    let mut set = set_time(at);
    while set == Err(Errno::CANCELED) {
        set = set_time(AT_ONCE);
    }
    Ok(set?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::clock::unix_ms;

    /// Longer than anything takes.
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn it_fires_at_its_time_and_not_before() {
        let timer = WallTimer::new().unwrap();
        let at = unix_ms() + 20;
        timer.set(Some(at)).unwrap();
        timeout(LONG, timer.fired()).await.unwrap().unwrap();
        assert!(unix_ms() >= at);
        timer.set(Some(at - 1000)).unwrap();
        timeout(LONG, timer.fired()).await.unwrap().unwrap();
    }

    #[test]
    fn it_fires_at_once_if_the_clock_was_set_before_it_is_set_again() {
        let at = Timespec {
            tv_sec: 1_800_000_000,
            tv_nsec: 1,
        };
        let mut seconds = Vec::new();
        let mut outcomes = [Err(Errno::CANCELED), Err(Errno::CANCELED), Ok(())].into_iter();
        let set = set_noticing(at, |time| {
            seconds.push(time.tv_sec);
            outcomes.next().unwrap()
        });
        set.unwrap();
        assert_eq!(seconds, [at.tv_sec, 0, 0]);
        let broken = set_noticing(at, |_| Err(Errno::INVAL)).unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn a_later_time_replaces_an_earlier_one() {
        let timer = WallTimer::new().unwrap();
        for never in [None, Some(u64::MAX), Some(unix_ms() + 3_600_000)] {
            timer.set(Some(0)).unwrap();
            timer.set(never).unwrap();
            let fired = timeout(Duration::from_millis(1), timer.fired()).await;
            assert!(fired.is_err(), "{never:?}");
        }
    }
}
