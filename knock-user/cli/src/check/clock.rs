//! Whether the clock of this host is kept right.

use std::io;

use knockd_config::Config;

/// A warning if the kernel says that nothing keeps the clock right, and knocks depend on it. If it does
/// not say, as in a container that may not ask, there is none.
pub(crate) fn warning(config: &Config) -> Option<String> {
    let needs_clock = config.has_single_use_knocks();
    (needs_clock && is_unsynchronised().unwrap_or(false)).then(|| {
        let skew = humantime::format_duration(config.max_skew);
        format!(
            "the clock of this host is not synchronised, as far as the kernel knows, and knocks whose \
             time differs from it by more than {skew} are refused: run an NTP client \
             (`timedatectl set-ntp true`). Where the hypervisor sets the clock, the kernel does not know"
        )
    })
}

/// The estimated error of a clock that nobody has set for hours: `NTP_PHASE_LIMIT` of the kernel, in
/// microseconds.
const UNKNOWN_ERROR: libc::c_long = 16_000_000;

/// Whether the kernel considers the clock unsynchronised (adjtimex(2)).
fn is_unsynchronised() -> io::Result<bool> {
    // SAFETY: the structure consists of numbers, for which zero is valid.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes the structure, which is valid during the call. Without a mode it
    // changes nothing.
    let state = unsafe { libc::adjtimex(&raw mut clock) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(says_so(clock.status, clock.maxerror))
}

/// Whether this `status` and `error` are those of a clock that nothing sets. Without `rtcsync`, chrony
/// leaves the status as it is at boot and only keeps the error small.
const fn says_so(status: libc::c_int, error: libc::c_long) -> bool {
    status & libc::STA_UNSYNC != 0 && error >= UNKNOWN_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_whether_the_clock_is_kept_right() {
        match is_unsynchronised() {
            Ok(_) => {}
            // A container without the right to ask.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }

    #[test]
    fn a_clock_that_chrony_keeps_without_rtcsync_is_right() {
        assert!(says_so(libc::STA_UNSYNC, UNKNOWN_ERROR));
        assert!(!says_so(libc::STA_UNSYNC, 250_000));
        assert!(!says_so(libc::STA_PLL, UNKNOWN_ERROR));
    }
}
