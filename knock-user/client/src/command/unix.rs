//! Signals on Unix.

use std::{
    io,
    mem::MaybeUninit,
    os::unix::process::ExitStatusExt as _,
    process::{Child, ExitStatus},
    ptr,
    sync::mpsc::{self, Receiver},
    thread,
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::{self, Handle},
};

/// The signals of the terminal. The kernel sends them to the command too.
const OF_TERMINAL: [i32; 2] = [SIGINT, SIGQUIT];

/// The signals that are passed on.
const PASSED_ON: [(i32, Signal); 2] = [(SIGTERM, Signal::TERM), (SIGHUP, Signal::HUP)];

/// The signals that this process receives while the command runs.
pub(super) struct Signals {
    received: Receiver<i32>,
    handle: Handle,
}

impl Signals {
    /// Handles the signals that would end this process. One that is ignored stays so, as nohup(1)
    /// wants it; the command inherits that, but no handler.
    pub(super) fn catch() -> io::Result<Self> {
        let passed_on = PASSED_ON.map(|(number, _)| number);
        let mut caught: Vec<i32> = OF_TERMINAL.into_iter().chain(passed_on).collect();
        caught.retain(|number| !is_ignored(*number));
        // Announces the end of the command.
        caught.push(SIGCHLD);
        let mut signals = iterator::Signals::new(caught)?;
        let handle = signals.handle();
        let (sender, received) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            for number in signals.forever() {
                if sender.send(number).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { received, handle })
    }

    /// Waits for one signal, but not longer than until `deadline`, and passes it on to `child`,
    /// which must not have been waited for yet.
    pub(super) fn pass_on(&self, deadline: Instant, child: &Child) {
        let limit = deadline.saturating_duration_since(Instant::now());
        let Ok(number) = self.received.recv_timeout(limit) else {
            return;
        };
        let signal = PASSED_ON.iter().find(|(passed_on, _)| *passed_on == number);
        if let (Some((_, signal)), Some(pid)) = (signal, pid_of(child)) {
            // Fails if the command now runs as another user, as sudo(8) does.
            let _ = kill_process(pid, *signal);
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

/// Whether this process ignores the signal.
fn is_ignored(number: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the current one, for which there is room.
    let read = unsafe { libc::sigaction(number, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeros are a valid action, so it is initialized even if the call failed.
    let action = unsafe { action.assume_init() };
    read == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// What a shell reports for a command that a signal ended.
pub(super) fn by_signal(status: ExitStatus) -> i32 {
    128 + status.signal().unwrap_or(0)
}
