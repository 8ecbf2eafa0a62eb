//! Each system call that a process of the daemon makes while a door opens and closes fails once. No
//! door stays open past its time, no knock is accepted twice, no process loops or leaks a file
//! descriptor, and the next knock is accepted.
//!
//! Each call fails with one error here. With `KNOCK_FAULTS=all` in the environment each fails with
//! each error.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use knock_common::protocol::block::Block;
use knock_tests::{
    link::Pair,
    needs_bpf,
    scene::{SOON, SOURCE, Scene, request, seal},
    service::{Greeter, is_admitted},
    strace::{Step, Strace},
};

/// A door that opens the gate, has commands and closes after a second.
const CONFIGURATION: &str = r#"
control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"
server_key_file = "server.key"

[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"

[[door]]
name = "brief"
open = ["tcp/22"]
run = ["sh", "-c", "echo open $KNOCK_IP >> {folder}/commands"]
close = ["sh", "-c", "echo close $KNOCK_IP >> {folder}/commands"]
for = "1s"

[gate]
protect = ["tcp/22"]
trusted = ["192.0.2.200/32"]
"#;

/// The errors of a full disk, a broken disk, a limit of files, a lack of memory, and a signal.
const ERRORS: [&str; 5] = ["ENOSPC", "EIO", "EMFILE", "ENOMEM", "EINTR"];

/// How long a door of [`CONFIGURATION`] may take to open and close with a fault: its lease of one
/// second, and one more attempt to close it after a second.
const OPENING_AND_CLOSING: Duration = Duration::from_secs(4);

/// The daemons that are tested at the same time. Most of their time is waiting.
const AT_ONCE: usize = 6;

/// An address that the gate always admits.
const TRUSTED: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200));

/// The source of the knocks before the fault, and of those after it.
const BEFORE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 5)), 40_000);
const AFTER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 6)), 40_000);

/// The process whose system calls fail.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Supervisor,
    Listener,
}

/// A daemon that has opened and closed its door once: what it does only at the first knock is done.
struct Guarded {
    scene: Scene,
    /// How often the daemons before this one have accepted the knock during which a call fails.
    accepted_before: usize,
    _ssh: Greeter,
}

impl Guarded {
    fn new() -> Self {
        let scene = Scene::with(CONFIGURATION).unwrap();
        scene.pair.add_client_address(TRUSTED).unwrap();
        let ssh = Greeter::start(&scene.pair.server, 22).unwrap();
        let guarded = Self {
            scene,
            accepted_before: 0,
            _ssh: ssh,
        };
        guarded.knock(BEFORE);
        let closed = ["closed door=\"brief\"", "source=192.0.2.5"];
        guarded.scene.logged(&closed).unwrap();
        guarded
    }

    /// The process of `victim`; `None` while a listener that has died has no successor.
    fn process(&self, victim: Victim) -> Option<u32> {
        match victim {
            Victim::Supervisor => Some(self.scene.knockd.id()),
            Victim::Listener => self.scene.listener().ok(),
        }
    }

    /// Knocks from `source` and returns the block.
    fn knock(&self, source: SocketAddr) -> Block {
        let block = seal(&request("brief", source.ip()).unwrap()).unwrap();
        self.scene.send_block(block, source).unwrap();
        block
    }

    /// How often the knock during which a call fails was accepted.
    fn accepted(&self) -> usize {
        let source = format!("source={} ", SOURCE.ip());
        let lines = self.scene.knockd.lines();
        let accepted = lines
            .iter()
            .filter(|line| line.text.contains("accepted door") && line.text.contains(&source));
        self.accepted_before + accepted.count()
    }

    /// How often the command `name` has run for `source`.
    fn count(&self, name: &str, source: SocketAddr) -> usize {
        let line = format!("{name} {}", source.ip());
        let commands = self.scene.files.commands();
        commands.iter().filter(|command| **command == line).count()
    }

    /// Waits for a log line with all of `parts` after the first `mark` lines, up to `limit`.
    fn logs(&self, mark: usize, parts: &[&str], limit: Duration) -> bool {
        let is_wanted = |line: &str| parts.iter().all(|part| line.contains(part));
        self.scene
            .knockd
            .wait_for_after(mark, is_wanted, limit)
            .is_ok()
    }

    /// Whether the gate admits a connection from the source of the faulty knock.
    fn admits(&self) -> bool {
        let server = SocketAddr::new(Pair::SERVER_V4.into(), 22);
        let client = &self.scene.pair.client;
        is_admitted(client, SOURCE.ip(), TRUSTED, server).unwrap()
    }

    /// Knocks until the door has opened and closed again. A new listener may be about to start. A daemon
    /// that has died is started again, as systemd does.
    fn is_served(&mut self) -> bool {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            if self.scene.knockd.has_ended().unwrap() {
                self.accepted_before = self.accepted();
                self.scene.restart().unwrap();
            }
            let mark = self.scene.knockd.mark();
            self.knock(AFTER);
            let closed = ["closed door=\"brief\"", "source=192.0.2.6"];
            if self.logs(mark, &closed, Duration::from_secs(3)) {
                return true;
            }
        }
        false
    }
}

/// The system calls of `victim` while a door opens and closes.
fn steps(victim: Victim) -> Vec<Step> {
    let guarded = Guarded::new();
    let strace = Strace::record(guarded.process(victim).unwrap()).unwrap();
    let mark = guarded.scene.knockd.mark();
    guarded.knock(SOURCE);
    let closed = ["closed door=\"brief\"", "source=192.0.2.2"];
    assert!(guarded.logs(mark, &closed, SOON));
    let mut steps = strace.steps().unwrap();
    // strace lets a call fail by not making it. The file would stay open, although close(2) closes it
    // also if it fails.
    steps.retain(|step| step.name != "close");
    steps
}

/// The number of open file descriptors of a process.
fn open_files(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// The CPU time of a process in clock ticks: fields 14 and 15 of proc_pid_stat(5).
fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<u64>().unwrap()).sum()
}

/// Whether a process soon uses less than a third of a CPU. It may have work left, but ends it.
fn becomes_idle(process: u32) -> bool {
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        let before = ticks(process);
        thread::sleep(Duration::from_millis(300));
        if ticks(process) - before < 10 {
            return true;
        }
    }
    false
}

/// Lets the call `step` of `victim` fail with `error`, and checks everything that must hold then.
/// Returns whether the call was made: not each knock needs the same calls.
fn survive(victim: Victim, step: &Step, error: &str) -> bool {
    let at = format!("{victim:?}: {step} fails with {error}");
    let mut guarded = Guarded::new();
    let process = guarded.process(victim).unwrap();
    let files = open_files(process);
    let strace = Strace::fail_at(process, step, error).unwrap();
    let mark = guarded.scene.knockd.mark();
    let knocked = Instant::now();
    let block = guarded.knock(SOURCE);
    let closed = ["closed door=\"brief\"", "source=192.0.2.2"];
    let has_closed = guarded.logs(mark, &closed, OPENING_AND_CLOSING);
    let was_injected = strace.detach().unwrap();
    // Also if the daemon has died: the kernel ends the lease.
    while guarded.admits() {
        assert!(
            knocked.elapsed() < OPENING_AND_CLOSING,
            "{at}: the door is still open"
        );
    }

    let has_survived = has_closed
        && !guarded.scene.knockd.has_ended().unwrap()
        && guarded.process(victim) == Some(process);
    if has_survived {
        assert!(becomes_idle(process), "{at}: it loops");
        let now = open_files(process);
        assert!(now <= files, "{at}: {now} open files, {files} before");
    }
    assert!(guarded.is_served(), "{at}: no further knock is accepted");
    // Also if the first attempts to close it failed.
    let deadline = Instant::now() + SOON;
    while guarded.count("close", SOURCE) < guarded.count("open", SOURCE) {
        assert!(Instant::now() < deadline, "{at}: `close` has not run");
        thread::sleep(Duration::from_millis(20));
    }

    // The recorded knock opens nothing, unless the fault kept it from being accepted.
    guarded.scene.send_block(block, SOURCE).unwrap();
    assert!(guarded.is_served(), "{at}");
    assert!(guarded.count("open", SOURCE) <= 1, "{at}: opened twice");
    assert!(guarded.accepted() <= 1, "{at}: accepted twice");
    was_injected
}

/// Lets each system call of `victim` fail.
fn survive_all(victim: Victim) {
    let steps = steps(victim);
    let all = env::var_os("KNOCK_FAULTS").is_some_and(|faults| faults == "all");
    let mut cases = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let errors = match all {
            true => &ERRORS[..],
            false => &ERRORS[index % ERRORS.len()..][..1],
        };
        cases.extend(errors.iter().map(|error| (step, *error)));
    }
    let (next, injected) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((step, error)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let was_injected = survive(victim, step, error);
                    injected.fetch_add(usize::from(was_injected), Ordering::Relaxed);
                }
            });
        }
    });
    let injected = injected.into_inner();
    println!(
        "{} system calls, {injected} of {} faults",
        steps.len(),
        cases.len()
    );
    assert!(injected * 2 > cases.len(), "{injected} of {}", cases.len());
    assert!(steps.len() > 3, "{steps:?}");
}

#[test]
fn any_system_call_of_the_supervisor_may_fail() {
    needs_bpf!();
    survive_all(Victim::Supervisor);
}

#[test]
fn any_system_call_of_the_listener_may_fail() {
    needs_bpf!();
    survive_all(Victim::Listener);
}
