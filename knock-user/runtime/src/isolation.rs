//! Keeps from the children of this process what it has inherited: its controlling terminal and open
//! files. A command that runs as another user could type into the terminal (`TIOCSTI` of
//! ioctl_tty(2)).

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, RawFd},
};

/// The controlling terminal.
const TERMINAL: &str = "/dev/tty";

/// The first descriptor that is not standard input, output or error.
const FIRST: RawFd = 3;

/// Closes all descriptors but the standard ones when another program is executed.
///
/// # Errors
///
/// Returns an error if the kernel refuses it.
pub fn keep_files() -> io::Result<()> {
    // SAFETY: the call reads no memory. It closes no descriptor of this process.
    let kept = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if kept == 0 {
        return Ok(());
    }
    // Before Linux 5.11.
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<RawFd>().ok());
        if let Some(number) = number.filter(|number| *number >= FIRST) {
            // SAFETY: the call reads no memory. For a descriptor that is closed by now it fails.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Gives up the controlling terminal, and keeps the process group: Ctrl-C still ends this process.
/// Returns whether there is none afterwards. The first process of a session keeps it, because the
/// whole session would lose it.
#[must_use]
pub fn leave_terminal() -> bool {
    let Ok(terminal) = File::options().read(true).write(true).open(TERMINAL) else {
        return true;
    };
    // Of a leader outside of this PID namespace the number is 0.
    let is_leader = nix::unistd::getsid(None).ok() == Some(nix::unistd::getpid());
    // SAFETY: the call has no argument.
    !is_leader && unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCNOTTY) } == 0
}

#[cfg(test)]
mod tests {
    use std::{os::fd::IntoRawFd as _, process::Command};

    use super::*;

    #[test]
    fn a_child_inherits_no_file() {
        let file = File::open("/dev/null").unwrap();
        let number = file.into_raw_fd();
        // SAFETY: the descriptor is open, and nothing else uses it.
        unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
        let inherits = || {
            let mut test = Command::new("test");
            test.arg("-e").arg(format!("/proc/self/fd/{number}"));
            test.status().unwrap().success()
        };
        assert!(inherits());
        keep_files().unwrap();
        assert!(!inherits());
    }
}
