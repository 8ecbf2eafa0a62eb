//! The gate while the daemon is dead, and the takeover by the next daemon.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use knock_tests::{
    clock::Clock,
    link::Pair,
    needs_bpf,
    process::{Running, Signal},
    scene::{SOON, knockd, program},
    service::try_connect,
};

use crate::{CONFIGURATION, Datagrams, Gated, KNOCKER, STRANGER};

impl Gated {
    fn kill(&mut self) {
        self.scene.knockd.signal(Signal::SIGKILL).unwrap();
        self.scene.knockd.wait(SOON).unwrap();
    }
}

#[test]
fn leases_expire_without_the_daemon() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[5], KNOCKER);
    gated.kill();
    gated.refuses(STRANGER);
    let mut session = gated.connect(KNOCKER).unwrap();
    // The lease ends after two seconds, without a daemon to log it.
    gated.awaits_refusal(KNOCKER);
    assert_eq!(session.ask("still there?").unwrap(), "still there?");
    gated.refuses(STRANGER);
}

#[test]
fn the_next_daemon_takes_over_without_a_gap() {
    needs_bpf!();
    let mut gated = Gated::new();
    let datagrams = Datagrams::new(&gated);
    gated.knock(&[7], KNOCKER);
    gated.scene.opened("all", KNOCKER).unwrap();
    gated.kill();
    // Unauthenticated connection attempts run from before the new daemon starts until it listens.
    let pair = &gated.scene.pair;
    let server = SocketAddr::new(Pair::SERVER_V4.into(), 22);
    let is_over = AtomicBool::new(false);
    let mut command = knockd(pair, &gated.scene.files).unwrap();
    command.args(["--iface", "srv0"]);
    let (attempts, next) = thread::scope(|scope| {
        let attempts_thread = scope.spawn(|| {
            let mut attempts = 0;
            while !is_over.load(Ordering::Relaxed) {
                let timeout = Duration::from_millis(5);
                let tried = try_connect(&pair.client, Some(STRANGER), server, timeout);
                assert!(tried.is_err(), "an unauthenticated source connected");
                attempts += 1;
            }
            attempts
        });
        let next = Running::spawn(command).unwrap();
        let listens = next.wait_for(|line| line.contains("listening on"), SOON);
        is_over.store(true, Ordering::Relaxed);
        listens.unwrap();
        (attempts_thread.join().unwrap(), next)
    });
    gated.scene.knockd = next;
    assert!(attempts > 0);
    gated.logged(&["replacing the program of an earlier knockd"]);
    gated.admits(KNOCKER);
    datagrams.arrive(&gated, KNOCKER);
    gated.refuses(STRANGER);
    assert_eq!(gated.leases().len(), 1);
    // The new daemon receives events: the old program's ring buffer has no reader.
    gated.knock(&[5], STRANGER);
    gated.admits(STRANGER);
    gated.ask(&["close", "192.0.2.2"]);
    gated.logged(&["closed door=\"all\""]);
    assert_eq!(
        gated.scene.files.commands(),
        ["open 192.0.2.2 phone", "close 192.0.2.2 phone"]
    );
}

#[test]
fn a_lease_that_expired_meanwhile_is_closed_once() {
    needs_bpf!();
    let configuration = CONFIGURATION.replace(
        "name = \"short\"",
        "name = \"short\"\nclose = [\"sh\", \"-c\", \"echo close %DOOR% >> {folder}/commands\"]",
    );
    let mut gated = Gated::with(&configuration);
    gated.knock(&[5], KNOCKER);
    gated.knock(&[1, 2, 3, 4], STRANGER);
    gated.kill();
    gated.awaits_refusal(KNOCKER);
    gated.scene.restart().unwrap();
    gated.logged(&["closed door=\"short\""]);
    assert_eq!(gated.scene.files.commands(), ["close short"]);
    gated.admits(STRANGER);
    gated.kill();
    gated.scene.restart().unwrap();
    assert_eq!(gated.leases().len(), 1);
    assert_eq!(gated.scene.files.commands(), ["close short"]);
}

/// The wall clock alone would restart the lease.
#[test]
fn a_clock_set_back_meanwhile_does_not_restore_a_lease() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[5], KNOCKER);
    gated.kill();
    gated.awaits_refusal(KNOCKER);
    let clock = Clock::new(&gated.scene.pair.server, &gated.scene.files).unwrap();
    clock.set(-3600).unwrap();
    gated.scene.restart().unwrap();
    gated.logged(&["closed door=\"short\""]);
    gated.refuses(KNOCKER);
}

/// A reboot removes the pins and the kernel's leases, but not the lease journal.
#[test]
fn after_a_reboot_leases_continue_or_expire() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[5], KNOCKER);
    gated.knock(&[7], STRANGER);
    gated.scene.opened("all", STRANGER).unwrap();
    gated.kill();
    gated.remove_pins();
    gated.admits(STRANGER);
    thread::sleep(Duration::from_secs(2));
    gated.scene.restart().unwrap();
    gated.logged(&["closed door=\"short\""]);
    gated.refuses(KNOCKER);
    gated.admits(STRANGER);
    let leases = gated.leases();
    assert_eq!(leases.len(), 1);
    let left = leases[0]["seconds_left"].as_u64().unwrap();
    assert!(
        (3500..3599).contains(&left),
        "{left} s left: the lease was restarted"
    );
}

#[test]
fn a_lease_of_a_removed_client_is_revoked() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.ask(&["open", "192.0.2.66", "ssh"]);
    gated.kill();
    gated.reconfigure(|text| text.replace("name = \"phone\"", "name = \"telephone\""));
    gated.scene.restart().unwrap();
    gated.logged(&["closed door=\"ssh\" source=192.0.2.2"]);
    gated.refuses(KNOCKER);
    gated.admits(STRANGER);
}

#[test]
fn a_reconfigured_door_does_not_keep_its_old_port_open() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    // `leases` answers after the open door is written to disk.
    assert_eq!(gated.leases().len(), 1);
    gated.kill();
    gated.reconfigure(|text| text.replacen("open = [\"tcp/22\"]", "open = [\"udp/51820\"]", 1));
    gated.scene.restart().unwrap();
    gated.refuses(KNOCKER);
    Datagrams::new(&gated).arrive(&gated, KNOCKER);
}

/// Pins with another layout, as a different version leaves them: an attached program, and maps that
/// this version cannot read.
#[test]
fn pins_of_another_layout_are_replaced_without_a_gap() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.kill();
    gated.in_pins("mv v1 v7 && mv v7/leases v7/other && mv v7/protected v7/leases");
    gated.refuses(STRANGER);
    gated.scene.restart().unwrap();
    gated.logged(&["replacing the program of an earlier knockd"]);
    gated.admits(KNOCKER);
    gated.refuses(STRANGER);
    assert_eq!(gated.in_pins("ls"), "owner\nv1\n");
}

#[test]
fn a_pin_of_another_map_type_is_not_used_as_the_lease_map() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.kill();
    gated.in_pins("cd v1 && mv protected leases");
    gated.scene.restart().unwrap();
    gated.admits(KNOCKER);
    gated.refuses(STRANGER);
}

#[test]
fn a_removed_interface_is_detached() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.kill();
    gated.refuses(STRANGER);
    let mut command = knockd(&gated.scene.pair, &gated.scene.files).unwrap();
    command.args(["--iface", "lo"]);
    let next = Running::spawn(command).unwrap();
    next.wait_for(|line| line.contains("listening on"), SOON)
        .unwrap();
    gated.scene.knockd = next;
    gated.admits(STRANGER);
}

/// A daemon that cannot start, because another program occupies an interface, does not change the
/// gate.
#[test]
fn a_failed_start_does_not_change_the_gate() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.knock(&[7], STRANGER);
    gated.scene.opened("all", STRANGER).unwrap();
    gated.kill();
    let mut command = knockd(&gated.scene.pair, &gated.scene.files).unwrap();
    command.args(["--iface", "srv0", "--iface", "lo"]);
    let mut tap = gated.scene.pair.server.command(program("knockd").unwrap());
    tap.args(["tap", "--iface", "lo"]);
    let tap = Running::spawn(tap).unwrap();
    tap.wait_for(|line| line.contains("attached to lo"), SOON)
        .unwrap();
    let mut next = Running::spawn(command).unwrap();
    assert!(!next.wait(SOON).unwrap().success());
    gated.admits(KNOCKER);
    gated.refuses(STRANGER);
    assert_eq!(gated.scene.files.commands().len(), 2);
    gated.scene.restart().unwrap();
    gated.admits(KNOCKER);
    assert_eq!(gated.leases().len(), 1);
}

/// A daemon whose listener does not come up leaves the host as it was: without a gate if there was
/// none, and with the gate of an earlier daemon if there was one.
#[test]
fn a_start_that_fails_after_pinning_is_undone() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.kill();
    let text = gated.start_without_listener();
    assert!(
        text.contains("the gate stays in force for tcp/22"),
        "{text}"
    );
    gated.refuses(STRANGER);
    gated.remove_pins();
    let text = gated.start_without_listener();
    assert!(text.contains("its gate is removed again"), "{text}");
    gated.admits(STRANGER);
    let details = gated.scene.pair.server.ip("-details link show srv0");
    assert!(!details.unwrap().contains("xdp"));
    gated.scene.restart().unwrap();
    gated.refuses(STRANGER);
}

impl Gated {
    /// Starts a daemon whose listener cannot put its filter of system calls in force. Returns what it
    /// printed until it failed.
    fn start_without_listener(&self) -> String {
        let knockd = knockd(&self.scene.pair, &self.scene.files).unwrap();
        let mut strace = self.scene.pair.server.command("strace");
        strace.args([
            "-f",
            "-qq",
            "-e",
            "trace=seccomp",
            "-e",
            "inject=seccomp:error=EPERM",
        ]);
        strace.arg(program("knockd").unwrap());
        let arguments = knockd
            .get_args()
            .skip_while(|argument| *argument != "--log");
        strace.args(arguments).args(["--iface", "srv0"]);
        let mut failing = Running::spawn(strace).unwrap();
        assert!(!failing.wait(SOON).unwrap().success());
        let lines = failing.lines();
        let lines = lines.iter().map(|line| line.text.as_str());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Runs a shell `script` in the pin folder, in the daemon's mount namespace.
    fn in_pins(&self, script: &str) -> String {
        let mut shell = self.scene.pair.server.command("sh");
        shell.args(["-ec", &format!("cd /sys/fs/bpf/knockd; {script}")]);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Removes all pins, like a reboot.
    fn remove_pins(&self) {
        self.in_pins("rm v1/* && rmdir v1");
    }

    fn reconfigure(&self, change: impl FnOnce(String) -> String) {
        let path: PathBuf = self.scene.files.path("knockd.toml");
        let text = fs::read_to_string(&path).unwrap();
        let changed = change(text.clone());
        assert_ne!(text, changed);
        fs::write(path, changed).unwrap();
    }
}
