//! Runs the command of `--hold`, and passes signals on to it.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

use std::{
    ffi::{OsStr, OsString},
    io,
    process::{Child, Command, ExitStatus},
    time::Instant,
};

#[cfg(not(unix))]
use self::other as system;
#[cfg(unix)]
use self::unix as system;

/// A command that runs.
pub(super) struct Running {
    child: Child,
    signals: system::Signals,
}

impl Running {
    /// Starts `program` with the terminal, the environment and the working directory of this
    /// process. From now on this process survives the signals that ask it to end.
    ///
    /// # Errors
    ///
    /// Returns the system's error if it cannot be started.
    pub(super) fn start(program: &OsStr, arguments: &[OsString]) -> io::Result<Self> {
        // First, so that no signal ends this process while the command runs.
        let signals = system::Signals::catch()?;
        let child = Command::new(program).args(arguments).spawn()?;
        Ok(Self { child, signals })
    }

    /// Waits for the end of the command, but not longer than until `deadline`. Returns its exit
    /// status as a shell states it, if it has ended.
    ///
    /// # Errors
    ///
    /// Returns the system's error if its status is lost.
    pub(super) fn wait_until(&mut self, deadline: Instant) -> io::Result<Option<u8>> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(shell_status(status)));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            // The child has not been waited for, so its number is still its own.
            self.signals.pass_on(deadline, &self.child);
        }
    }
}

/// The exit status, or 128 plus the number of the signal.
fn shell_status(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| system::by_signal(status));
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(all(test, unix))]
mod tests;
