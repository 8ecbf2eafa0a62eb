//! Says on a terminal what takes long: with a hundred thousand clients, reading the configuration and
//! deriving their keys takes seconds.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use anyhow::Result;
use knockd_config::Config;

/// How long nothing is said.
const PATIENCE: Duration = Duration::from_secs(2);

const READING: &str = "still reading the configuration and deriving the keys of its clients";

/// Loads the configuration at `path`.
///
/// # Errors
///
/// See [`Config::load`].
pub(crate) fn load(path: &Path) -> Result<Config> {
    told(READING, || Config::load(path))
}

/// Validates the configuration at `path` as if its files had other texts.
///
/// # Errors
///
/// See [`Config::parse_changed`].
pub(crate) fn parse_changed(path: &Path, changes: &[(&Path, &str)]) -> Result<Config> {
    told(READING, || Config::parse_changed(path, changes))
}

/// The result of `work`. If it takes longer than [`PATIENCE`], prints `what` on standard error, if that
/// is a terminal.
pub(crate) fn told<T>(what: &str, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let tell = || {
        // It is only for the eye.
        let _ = writeln!(io::stderr(), "knockd: {what}");
    };
    told_after(PATIENCE, tell, work)
}

/// The result of `work`. Calls `tell` if it takes longer than `patience`.
fn told_after<T>(patience: Duration, tell: impl FnOnce() + Send, work: impl FnOnce() -> T) -> T {
    let (working, ended) = channel::<()>();
    thread::scope(|scope| {
        // Dropped, and the thread thereby ended, also by a panic of `work`.
        let _working = working;
        let wait = move || {
            if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                tell();
            }
        };
        // Where there is no room for a thread, nothing is said.
        let _ = thread::Builder::new().spawn_scoped(scope, wait);
        work()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_told_while_it_goes_on() {
        let (tell, told) = channel();
        let work = || told.recv().unwrap();
        let told = told_after(Duration::ZERO, move || tell.send("slow").unwrap(), work);
        assert_eq!(told, "slow");
    }

    #[test]
    fn what_is_quick_is_not_told() {
        let tell = || panic!("it is told");
        assert_eq!(told_after(Duration::from_secs(3600), tell, || 7), 7);
    }
}
