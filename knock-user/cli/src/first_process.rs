//! The daemon as the first process of a container.
//!
//! Processes that a door's command leaves behind become children of the first process, which has to
//! wait for them: otherwise they stay zombies. The daemon waits for its own children only, so it runs
//! as a child here. This process passes signals on, and ends when the daemon does. The kernel then
//! kills whatever is left in the container.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait},
};
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};

/// The signals that are passed on. Without a handler, the first process ignores them.
const PASSED_ON: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// The exit status of a shell for a program that a signal has ended is this plus the signal's number.
const SIGNALLED: i32 = 128;

/// Whether this is the first process.
pub(crate) fn is_first() -> bool {
    getpid().is_init()
}

/// Runs this program again, as a child with the same arguments, and waits for every process that ends.
/// Returns the exit status of the child.
///
/// # Errors
///
/// Returns an error if the child cannot be started, or if the kernel refuses to wait.
pub(crate) fn run_child() -> Result<i32> {
    // Before the child is started, so that no signal is lost.
    let mut signals = Signals::new(PASSED_ON.into_iter().chain([SIGCHLD]))?;
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = env::args_os().next() {
        command.arg0(name);
    }
    // In its own group: a terminal would send SIGINT to both, and the second one stops it at once.
    let child = command
        .args(env::args_os().skip(1))
        .process_group(0)
        .spawn()
        .context("the daemon cannot be started")?;
    let daemon = Pid::from_child(&child);
    loop {
        for signal in signals.wait() {
            if signal != SIGCHLD
                && let Some(signal) = Signal::from_named_raw(signal)
            {
                // It may have ended.
                let _ = kill_process(daemon, signal);
            }
        }
        if let Some(status) = reap(daemon)? {
            return Ok(status);
        }
    }
}

/// Waits for all processes that have ended. Returns the exit status of `daemon` if it is among them.
fn reap(daemon: Pid) -> Result<Option<i32>> {
    let mut ended = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((process, status))) if process == daemon => ended = Some(exit_status(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(ended),
            Err(error) => return Err(error).context("cannot wait for processes"),
        }
    }
}

fn exit_status(status: WaitStatus) -> i32 {
    let signal = || SIGNALLED + status.terminating_signal().unwrap_or_default();
    status.exit_status().unwrap_or_else(signal)
}
