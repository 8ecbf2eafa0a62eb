//! The daemon is killed at each system call that it makes while it opens or closes a door.

use std::collections::BTreeMap;

use knock_tests::{
    needs_bpf,
    scene::SOON,
    strace::{Step, Strace},
};

use crate::{Gated, KNOCKER, STRANGER};

/// The observable state of door `all`, while the daemon is dead or after the next one has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    is_admitted: bool,
    opened: usize,
    closed: usize,
}

/// System calls that change nothing but the process that makes them.
const WITHOUT_EFFECT: &[&str] = &[
    "brk",
    "clock_gettime",
    "epoll_ctl",
    "epoll_wait",
    "fcntl",
    "fstat",
    "futex",
    "getpid",
    "getrandom",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "pidfd_open",
    "pipe2",
    "prctl",
    "pread64",
    "read",
    "recvfrom",
    "recvmsg",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_getaffinity",
    "sched_yield",
    "sigaltstack",
    "socketpair",
    "statx",
    "timerfd_settime",
];

impl Gated {
    fn state(&self) -> State {
        let commands = self.scene.files.commands();
        let count = |what: &str| {
            commands
                .iter()
                .filter(|line| line.starts_with(what))
                .count()
        };
        State {
            is_admitted: self.is_admitted(KNOCKER),
            opened: count("open"),
            closed: count("close"),
        }
    }

    /// Knocks at door `all`; returns when its command has ended or the daemon is dead.
    fn open_all(&self) {
        self.send_knock(&[7], KNOCKER);
        let _ = self
            .scene
            .knockd
            .wait_for(|line| line.contains("command run"), SOON);
    }

    /// Closes door `all` manually; returns when it is closed or the daemon is dead.
    fn close_all(&self) {
        if self.knockd(&["close", "192.0.2.2", "all"]).status.success() {
            let _ = self
                .scene
                .knockd
                .wait_for(|line| line.contains(" closed door=\"all\""), SOON);
        }
    }
}

/// The system calls of the daemon during `act` that change what outlives it, and the last one.
fn steps(gated: &Gated, act: impl Fn(&Gated)) -> Vec<Step> {
    let strace = Strace::record(gated.scene.knockd.id()).unwrap();
    act(gated);
    let mut steps = strace.steps().unwrap();
    // After a call without effect, a kill at the next one leaves the same state.
    let last = steps.len() - 1;
    let mut index = 0..;
    steps
        .retain(|step| index.next() == Some(last) || !WITHOUT_EFFECT.contains(&step.name.as_str()));
    steps
}

/// Kills the daemon of `gated` when it reaches `step` during `act`.
fn kill_at(gated: &mut Gated, step: &Step, act: impl Fn(&Gated)) {
    let strace = Strace::kill_at(gated.scene.knockd.id(), step).unwrap();
    act(gated);
    strace.finish(&mut gated.scene.knockd).unwrap();
}

#[test]
fn a_kill_while_opening_leaves_a_consistent_state() {
    needs_bpf!();
    let steps = steps(&Gated::new(), Gated::open_all);
    let mut states: BTreeMap<State, usize> = BTreeMap::new();
    for step in &steps {
        let mut gated = Gated::new();
        kill_at(&mut gated, step, Gated::open_all);
        let state = gated.state();
        assert!(!gated.is_admitted(STRANGER), "killed at {step}");
        assert!(
            state.is_admitted || state.opened == 0,
            "{state:?} at {step}"
        );
        gated.scene.restart().unwrap();
        let doors = gated.leases();
        if state.is_admitted {
            // The next daemon knows every admitted client.
            assert_eq!(doors.len(), 1, "killed at {step}");
        }
        // Every client that it knows is admitted for the rest of the lease.
        assert_eq!(
            gated.is_admitted(KNOCKER),
            doors.len() == 1,
            "killed at {step}"
        );
        gated.close_all();
        let end = gated.state();
        assert!(!end.is_admitted, "killed at {step}");
        assert_eq!(end.closed, doors.len(), "killed at {step}");
        *states.entry(state).or_default() += 1;
    }
    println!("killed at each of {} system calls: {states:?}", steps.len());
    assert!(states.len() > 2, "{states:?}");
}

#[test]
fn a_kill_while_closing_leaves_a_consistent_state() {
    needs_bpf!();
    let opened = || {
        let gated = Gated::new();
        gated.open_all();
        gated
    };
    let steps = steps(&opened(), Gated::close_all);
    let mut states: BTreeMap<State, usize> = BTreeMap::new();
    for step in &steps {
        let mut gated = opened();
        kill_at(&mut gated, step, Gated::close_all);
        let state = gated.state();
        assert!(
            !state.is_admitted || state.closed == 0,
            "{state:?} at {step}"
        );
        gated.scene.restart().unwrap();
        let mut doors = gated.leases();
        // The next daemon completes a closing that had begun.
        doors.retain(|door| door["state"] == "open");
        if doors.is_empty() && state.closed == 0 {
            gated.logged(&[" closed door=\"all\""]);
        }
        let end = gated.state();
        assert_eq!(end.is_admitted, doors.len() == 1, "killed at {step}");
        assert!(
            state.is_admitted || !end.is_admitted,
            "open again, killed at {step}"
        );
        assert_eq!(end.opened, 1, "killed at {step}");
        *states.entry(state).or_default() += 1;
    }
    println!("killed at each of {} system calls: {states:?}", steps.len());
    assert!(states.len() > 2, "{states:?}");
}
