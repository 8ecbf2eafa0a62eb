//! What holds without the daemon, and what the next one makes of it.

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

use crate::{CONFIGURATION, Datagrams, Gated, KNOCKER, SILENCE, STRANGER};

impl Gated {
    fn kill(&mut self) {
        self.scene.knockd.signal(Signal::SIGKILL).unwrap();
        self.scene.knockd.wait(SOON).unwrap();
    }
}

#[test]
fn leases_end_on_time_without_the_daemon() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[5], KNOCKER);
    gated.kill();
    gated.keeps_out(STRANGER);
    let mut session = gated.connect(KNOCKER).unwrap();
    // Two seconds, and nobody there who would report it.
    while gated.answers(KNOCKER, SILENCE) {}
    assert_eq!(session.ask("still there?").unwrap(), "still there?");
    gated.keeps_out(STRANGER);
}

#[test]
fn the_next_daemon_takes_over_without_a_gap() {
    needs_bpf!();
    let mut gated = Gated::new();
    let datagrams = Datagrams::new(&gated);
    gated.knock(&[7], KNOCKER);
    gated.scene.opened("all", KNOCKER).unwrap();
    gated.kill();
    // Somebody tries all the time, from before the new daemon starts until it listens.
    let pair = &gated.scene.pair;
    let server = SocketAddr::new(Pair::SERVER_V4.into(), 22);
    let is_over = AtomicBool::new(false);
    let mut command = knockd(pair, &gated.scene.files).unwrap();
    command.args(["--iface", "srv0"]);
    let (attempts, next) = thread::scope(|scope| {
        let trying = scope.spawn(|| {
            let mut attempts = 0;
            while !is_over.load(Ordering::Relaxed) {
                let patience = Duration::from_millis(5);
                let tried = try_connect(&pair.client, Some(STRANGER), server, patience);
                assert!(tried.is_err(), "a stranger came in");
                attempts += 1;
            }
            attempts
        });
        let next = Running::spawn(command).unwrap();
        let listens = next.wait_for(|line| line.contains("listening on"), SOON);
        is_over.store(true, Ordering::Relaxed);
        listens.unwrap();
        (trying.join().unwrap(), next)
    });
    gated.scene.knockd = next;
    assert!(attempts > 0);
    gated.logged(&["replacing the program of an earlier knockd"]);
    gated.lets_in(KNOCKER);
    datagrams.arrive(&gated, KNOCKER);
    gated.keeps_out(STRANGER);
    assert_eq!(gated.leases().len(), 1);
    // And it listens: the old program's ring would have no reader.
    gated.knock(&[5], STRANGER);
    gated.lets_in(STRANGER);
    gated.ask(&["close", "192.0.2.2"]);
    gated.logged(&["closed door=\"all\""]);
    assert_eq!(
        gated.scene.files.commands(),
        ["open 192.0.2.2 phone", "close 192.0.2.2 phone"]
    );
}

#[test]
fn what_fell_due_meanwhile_is_closed_once() {
    needs_bpf!();
    let configuration = CONFIGURATION.replace(
        "name = \"short\"",
        "name = \"short\"\nclose = [\"sh\", \"-c\", \"echo close %DOOR% >> {folder}/commands\"]",
    );
    let mut gated = Gated::with(&configuration);
    gated.knock(&[5], KNOCKER);
    gated.knock(&[1, 2, 3, 4], STRANGER);
    gated.kill();
    while gated.answers(KNOCKER, SILENCE) {}
    gated.scene.restart().unwrap();
    gated.logged(&["closed door=\"short\""]);
    assert_eq!(gated.scene.files.commands(), ["close short"]);
    gated.lets_in(STRANGER);
    gated.kill();
    gated.scene.restart().unwrap();
    assert_eq!(gated.leases().len(), 1);
    assert_eq!(gated.scene.files.commands(), ["close short"]);
}

/// By the wall clock alone the lease would begin anew.
#[test]
fn a_clock_that_is_set_back_meanwhile_brings_no_lease_back() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[5], KNOCKER);
    gated.kill();
    while gated.answers(KNOCKER, SILENCE) {}
    let clock = Clock::new(&gated.scene.pair.server, &gated.scene.files).unwrap();
    clock.set(-3600).unwrap();
    gated.scene.restart().unwrap();
    gated.logged(&["closed door=\"short\""]);
    gated.keeps_out(KNOCKER);
}

/// A reboot takes the pins and the kernel's leases, and leaves the store.
#[test]
fn after_a_reboot_leases_go_on_or_are_closed() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[5], KNOCKER);
    gated.knock(&[7], STRANGER);
    gated.scene.opened("all", STRANGER).unwrap();
    gated.kill();
    gated.forget_pins();
    gated.lets_in(STRANGER);
    thread::sleep(Duration::from_secs(2));
    gated.scene.restart().unwrap();
    gated.logged(&["closed door=\"short\""]);
    gated.keeps_out(KNOCKER);
    gated.lets_in(STRANGER);
    let leases = gated.leases();
    assert_eq!(leases.len(), 1);
    let left = leases[0]["seconds_left"].as_u64().unwrap();
    assert!((3500..3599).contains(&left), "{left}: it has run on");
}

#[test]
fn who_is_no_client_any_more_is_let_in_no_more() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.ask(&["open", "192.0.2.66", "ssh"]);
    gated.kill();
    gated.reconfigure(|text| text.replace("name = \"phone\"", "name = \"telephone\""));
    gated.scene.restart().unwrap();
    gated.logged(&["closed door=\"ssh\" source=192.0.2.2"]);
    gated.keeps_out(KNOCKER);
    gated.lets_in(STRANGER);
}

#[test]
fn a_door_that_opens_another_port_now_does_not_keep_the_old_one_open() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    // Answered when the door is on disk as an open one.
    assert_eq!(gated.leases().len(), 1);
    gated.kill();
    gated.reconfigure(|text| text.replacen("open = [\"tcp/22\"]", "open = [\"udp/51820\"]", 1));
    gated.scene.restart().unwrap();
    gated.keeps_out(KNOCKER);
    Datagrams::new(&gated).arrive(&gated, KNOCKER);
}

/// As a daemon with another layout leaves them: a program in force, and maps that this one
/// cannot read.
#[test]
fn pins_of_another_layout_are_replaced_without_a_gap() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.kill();
    gated.in_pins("mv v1 v7 && mv v7/leases v7/other && mv v7/protected v7/leases");
    gated.keeps_out(STRANGER);
    gated.scene.restart().unwrap();
    gated.logged(&["replacing the program of an earlier knockd"]);
    gated.lets_in(KNOCKER);
    gated.keeps_out(STRANGER);
    assert_eq!(gated.in_pins("ls"), "v1\n");
}

#[test]
fn a_pin_that_is_no_map_of_leases_is_not_taken_for_one() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.kill();
    gated.in_pins("cd v1 && mv protected leases");
    gated.scene.restart().unwrap();
    gated.lets_in(KNOCKER);
    gated.keeps_out(STRANGER);
}

#[test]
fn an_interface_that_is_left_out_now_is_left_alone() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.kill();
    gated.keeps_out(STRANGER);
    let mut command = knockd(&gated.scene.pair, &gated.scene.files).unwrap();
    command.args(["--iface", "lo"]);
    let next = Running::spawn(command).unwrap();
    next.wait_for(|line| line.contains("listening on"), SOON)
        .unwrap();
    gated.scene.knockd = next;
    gated.lets_in(STRANGER);
}

/// A daemon that cannot start, since an interface is somebody else's, leaves the gate as it was.
#[test]
fn a_start_that_fails_opens_nothing() {
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
    gated.lets_in(KNOCKER);
    gated.keeps_out(STRANGER);
    assert_eq!(gated.scene.files.commands().len(), 2);
    gated.scene.restart().unwrap();
    gated.lets_in(KNOCKER);
    assert_eq!(gated.leases().len(), 1);
}

impl Gated {
    /// Runs a shell `script` in the folder with the pins, as the daemon sees it.
    fn in_pins(&self, script: &str) -> String {
        let mut shell = self.scene.pair.server.command("sh");
        shell.args(["-ec", &format!("cd /sys/fs/bpf/knockd; {script}")]);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Unpins everything, as a reboot does.
    fn forget_pins(&self) {
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
