//! What an interruption does: whatever is running is ended first, and nothing is left behind.

use std::{
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

/// The signal that came, or 0.
static CAME: AtomicI32 = AtomicI32::new(0);

/// The program that is waited for.
static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

struct Running {
    /// Unlike its id, this never means another process.
    process: OwnedFd,
    /// Its standard input, where it watches that.
    lifeline: Option<ChildStdin>,
}

fn running() -> MutexGuard<'static, Option<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signals() -> io::Result<Signals> {
    Signals::new([SIGINT, SIGTERM, SIGHUP])
}

/// From now on a signal ends the program that [`wait`] waits for, and then this one.
pub(crate) fn pass_on() -> Result<()> {
    let mut signals = signals()?;
    thread::spawn(move || {
        for signal in signals.forever() {
            CAME.store(signal, Ordering::SeqCst);
            if let Some(running) = running().as_mut() {
                // Forbidden where it is root's: then its lifeline is what it watches.
                let _ = pidfd_send_signal(&running.process, Signal::TERM);
                running.lifeline = None;
            }
        }
    });
    Ok(())
}

/// The exit status that tells of an interruption, if there was one.
pub(crate) fn status() -> Option<u8> {
    match CAME.load(Ordering::SeqCst) {
        0 => None,
        signal => u8::try_from(128 + signal).ok(),
    }
}

/// Runs `command` to its end. A standard input that is a pipe is held open for as long, as
/// the lifeline of a program that runs [`remove_when_cut_off`].
///
/// # Errors
///
/// It cannot be started, or an interruption came.
pub(crate) fn wait(command: &mut Command) -> Result<Output> {
    let child = start(command)?;
    let output = child.wait_with_output();
    *running() = None;
    refuse()?;
    Ok(output?)
}

fn start(command: &mut Command) -> Result<Child> {
    // Held while the program starts, so that no signal falls between the two.
    let mut running = running();
    refuse()?;
    let mut child = command.spawn()?;
    *running = Some(Running {
        process: pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?,
        lifeline: child.stdin.take(),
    });
    Ok(child)
}

fn refuse() -> Result<()> {
    if status().is_some() {
        bail!("interrupted");
    }
    Ok(())
}

/// Makes a folder that is removed, and ends this process with its children, when a signal
/// comes or standard input ends: whoever started this holds the other end, and a user's
/// process cannot send a signal to root's.
pub(crate) fn remove_when_cut_off(prefix: &str) -> Result<tempfile::TempDir> {
    // Before the folder is there, so that no signal falls between the two.
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
        // An end or an error: either way nobody holds the lifeline any more.
        while matches!(io::stdin().read(&mut [0; 64]), Ok(1..)) {}
        leave(&path, SIGTERM);
    });
    Ok(folder)
}

/// What came of the work in the folder. An error that an interruption led to is not worth
/// telling: this waits for the end then.
pub(crate) fn outcome(result: Result<()>) -> Result<()> {
    while result.is_err() && status().is_some() {
        thread::park();
    }
    result
}

fn leave(folder: &Path, signal: i32) -> ! {
    CAME.store(signal, Ordering::SeqCst);
    // Twice: a daemon that was started between the first two steps makes the folder of its
    // socket again, and one that is started later finds no configuration.
    for _ in 0..2 {
        end_children();
        let _ = fs::remove_dir_all(folder);
    }
    // Whoever watched may have gone.
    let _ = writeln!(io::stderr(), "\ninterrupted: nothing is left behind");
    exit(128 + signal);
}

fn end_children() {
    for child in children() {
        // Both fail only where the other thread has reaped it.
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
