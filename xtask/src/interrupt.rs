//! What a signal does: running programs are ended first, and nothing is left behind.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, ChildStdin, Command, Output, exit},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    thread,
};

use anyhow::{Result, bail};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, pidfd_send_signal,
    waitid,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// The signal that was received, or 0.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// The programs that are waited for, by their process ids.
static RUNNING: Mutex<BTreeMap<u32, Running>> = Mutex::new(BTreeMap::new());

struct Running {
    /// Unlike its id, this never means another process.
    process: OwnedFd,
    /// Its standard input, if it watches that.
    lifeline: Option<ChildStdin>,
}

fn running() -> MutexGuard<'static, BTreeMap<u32, Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signals() -> io::Result<Signals> {
    Signals::new([SIGINT, SIGTERM, SIGHUP])
}

/// Makes a signal end the programs that [`wait`] waits for, and then this one.
pub(crate) fn pass_on() -> Result<()> {
    let mut signals = signals()?;
    thread::spawn(move || {
        for signal in signals.forever() {
            RECEIVED.store(signal, Ordering::SeqCst);
            for running in running().values_mut() {
                // Not permitted for a process of root, which watches its lifeline instead.
                let _ = pidfd_send_signal(&running.process, Signal::TERM);
                running.lifeline = None;
            }
        }
    });
    Ok(())
}

/// The exit status for the signal that was received, if there was one.
pub(crate) fn status() -> Option<u8> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => u8::try_from(128 + signal).ok(),
    }
}

/// Runs `command` to its end. A standard input that is a pipe is held open for as long, as
/// the lifeline of a program that runs [`remove_when_cut_off`].
///
/// # Errors
///
/// Returns an error if it cannot be started or a signal was received.
pub(crate) fn wait(command: &mut Command) -> Result<Output> {
    let child = start(command)?;
    let id = child.id();
    let output = child.wait_with_output();
    running().remove(&id);
    refuse()?;
    Ok(output?)
}

fn start(command: &mut Command) -> Result<Child> {
    // Held while the program starts: otherwise a signal in between would miss it.
    let mut running = running();
    refuse()?;
    let mut child = command.spawn()?;
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let lifeline = child.stdin.take();
    running.insert(child.id(), Running { process, lifeline });
    Ok(child)
}

fn refuse() -> Result<()> {
    if status().is_some() {
        bail!("interrupted");
    }
    Ok(())
}

/// Makes a folder that is removed, and ends this process with its children, when a signal is
/// received or standard input ends. The process that started this one holds the other end: a
/// user's process cannot send a signal to root's.
pub(crate) fn remove_when_cut_off(prefix: &str) -> Result<tempfile::TempDir> {
    // Before the folder exists: otherwise a signal in between would leave it behind.
    let mut signals = signals()?;
    let folder = tempfile::Builder::new().prefix(prefix).tempdir()?;
    let path = folder.path().to_owned();
    thread::spawn({
        let path = path.clone();
        move || {
            if let Some(signal) = signals.forever().next() {
                leave(&path, signal);
            }
        }
    });
    thread::spawn(move || {
        // An end or an error: either way the other end of the lifeline is closed.
        while matches!(io::stdin().read(&mut [0; 64]), Ok(1..)) {}
        leave(&path, SIGTERM);
    });
    Ok(folder)
}

/// The outcome of the work in the folder. After a signal an error is only its consequence: this
/// waits for the end of the process instead of reporting it.
pub(crate) fn outcome(result: Result<()>) -> Result<()> {
    while result.is_err() && status().is_some() {
        thread::park();
    }
    result
}

fn leave(folder: &Path, signal: i32) -> ! {
    RECEIVED.store(signal, Ordering::SeqCst);
    // Twice: a daemon that starts between the first two steps makes the folder of its socket
    // again. One that starts later finds no configuration.
    for _ in 0..2 {
        end_children();
        let _ = fs::remove_dir_all(folder);
    }
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "\ninterrupted: nothing is left behind");
    exit(128 + signal);
}

fn end_children() {
    for child in children() {
        // Both fail only if the other thread has reaped it.
        let _ = kill_process(child, Signal::KILL);
        let _ = waitid(
            WaitId::Pid(child),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        );
    }
}

fn children() -> Vec<Pid> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks
        .flatten()
        .map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default())
        .flat_map(|ids| {
            ids.split_whitespace()
                .filter_map(|id| id.parse().ok().and_then(Pid::from_raw))
                .collect::<Vec<_>>()
        })
        .collect()
}
