//! The daemon is killed at every system call of opening and of closing a door.

use std::{collections::BTreeMap, time::Duration};

use knock_tests::{
    needs_bpf,
    scene::SOON,
    strace::{Step, Strace},
};

use crate::{Gated, KNOCKER, STRANGER};

/// How long an answer may take, which takes microseconds where there is one.
const PATIENCE: Duration = Duration::from_millis(150);

/// What is seen of door `all`, once the daemon is dead and after the next has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Left {
    let_in: bool,
    opened: usize,
    closed: usize,
}

impl Gated {
    fn left(&self) -> Left {
        let commands = self.scene.files.commands();
        let count = |what: &str| {
            commands
                .iter()
                .filter(|line| line.starts_with(what))
                .count()
        };
        Left {
            let_in: self.answers(KNOCKER, PATIENCE),
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

    /// Closes door `all` by hand; returns when it is closed or the daemon is dead.
    fn close_all(&self) {
        if self.knockd(&["close", "192.0.2.2", "all"]).status.success() {
            let _ = self
                .scene
                .knockd
                .wait_for(|line| line.contains(" closed door=\"all\""), SOON);
        }
    }
}

/// Every system call of a daemon from here until `act` has returned.
fn steps(gated: &Gated, act: impl Fn(&Gated)) -> Vec<Step> {
    let strace = Strace::record(gated.scene.knockd.id()).unwrap();
    act(gated);
    strace.steps().unwrap()
}

/// Kills the daemon of `gated` when `act` brings it to `step`.
fn kill_at(gated: &mut Gated, step: &Step, act: impl Fn(&Gated)) {
    let strace = Strace::kill_at(gated.scene.knockd.id(), step).unwrap();
    act(gated);
    strace.finish(&mut gated.scene.knockd).unwrap();
}

#[test]
fn opening() {
    needs_bpf!();
    let steps = steps(&Gated::new(), Gated::open_all);
    let mut endings: BTreeMap<Left, usize> = BTreeMap::new();
    for step in &steps {
        let mut gated = Gated::new();
        kill_at(&mut gated, step, Gated::open_all);
        let left = gated.left();
        assert!(!gated.answers(STRANGER, PATIENCE), "killed at {step}");
        assert!(left.let_in || left.opened == 0, "{left:?} at {step}");
        gated.scene.restart().unwrap();
        let doors = gated.leases();
        if left.let_in {
            // Nobody is let in of whom the next daemon does not know.
            assert_eq!(doors.len(), 1, "killed at {step}");
        }
        // Whoever it knows of is let in for what is left of his time.
        assert_eq!(
            gated.answers(KNOCKER, PATIENCE),
            doors.len() == 1,
            "killed at {step}"
        );
        gated.close_all();
        let end = gated.left();
        assert!(!end.let_in, "killed at {step}");
        assert_eq!(end.closed, doors.len(), "killed at {step}");
        *endings.entry(left).or_default() += 1;
    }
    println!(
        "killed at each of {} system calls: {endings:?}",
        steps.len()
    );
    assert!(endings.len() > 2, "{endings:?}");
}

#[test]
fn closing() {
    needs_bpf!();
    let opened = || {
        let gated = Gated::new();
        gated.open_all();
        gated
    };
    let steps = steps(&opened(), Gated::close_all);
    let mut endings: BTreeMap<Left, usize> = BTreeMap::new();
    for step in &steps {
        let mut gated = opened();
        kill_at(&mut gated, step, Gated::close_all);
        let left = gated.left();
        assert!(!left.let_in || left.closed == 0, "{left:?} at {step}");
        gated.scene.restart().unwrap();
        let mut doors = gated.leases();
        // What the daemon had begun to close it closes now.
        doors.retain(|door| door["state"] == "open");
        if doors.is_empty() && left.closed == 0 {
            gated.logged(&[" closed door=\"all\""]);
        }
        let end = gated.left();
        assert_eq!(end.let_in, doors.len() == 1, "killed at {step}");
        assert!(left.let_in || !end.let_in, "open again, killed at {step}");
        assert_eq!(end.opened, 1, "killed at {step}");
        *endings.entry(left).or_default() += 1;
    }
    println!(
        "killed at each of {} system calls: {endings:?}",
        steps.len()
    );
    assert!(endings.len() > 2, "{endings:?}");
}
