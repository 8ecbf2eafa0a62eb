//! The first steps of every unprivileged process of the daemon.

use std::{ffi::CStr, io};

use rustix::{
    process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal},
    thread::set_name,
};
use tokio::signal::unix::{SignalKind, signal};

/// Names this process, denies its inspection to all users except root, and ends it with the
/// supervisor.
///
/// # Errors
///
/// Returns an error if the kernel refuses one of the settings.
pub fn begin(name: &CStr) -> io::Result<()> {
    // The kernel names a process after the file that it executes, here /proc/self/exe.
    set_name(name)?;
    // No core file, and no access for other processes of the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Ignores the signals that stop the supervisor: a terminal sends them to its children too, which
/// have to stay until the doors are closed.
///
/// # Errors
///
/// Returns an error if a handler cannot be installed.
pub fn ignore_signals() -> io::Result<()> {
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        // Tokio leaves the handler installed for the life of the process.
        drop(signal(kind)?);
    }
    Ok(())
}
