//! Two daemons that share a bpf filesystem, as containers do, with the same `pin_dir`.

use std::process::{Command, Output};

use knock_tests::{
    link::Pair,
    needs_bpf,
    process::{Running, Signal},
    scene::{Files, SOON, program},
};

use crate::{CONFIGURATION, Gated, KNOCKER, STRANGER};

/// The files of the second daemon.
fn second() -> Files {
    Files::new(CONFIGURATION).unwrap()
}

/// The second daemon, in another network namespace, with the bpf filesystem of the first.
fn elsewhere(gated: &Gated, files: &Files, arguments: &[&str]) -> Command {
    let mut unshare = gated.scene.pair.server.command("unshare");
    unshare.arg("--net").arg(program("knockd").unwrap());
    unshare.args(arguments).arg("--config");
    unshare.arg(files.path("knockd.toml"));
    unshare
}

fn output(mut command: Command) -> (Output, String) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, errors)
}

/// Asserts that the second daemon does not start, with the reason `expected`.
fn is_refused(command: Command, expected: &[&str]) {
    let (output, errors) = output(command);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for part in expected {
        assert!(errors.contains(part), "{part:?} is not in {errors}");
    }
}

#[test]
fn the_gate_of_a_running_knockd_is_left_alone() {
    needs_bpf!();
    let gated = Gated::new();
    let files = second();
    for take_over in [&[][..], &["--take-over"]] {
        let arguments = [&["--iface", "lo"], take_over].concat();
        is_refused(
            elsewhere(&gated, &files, &arguments),
            &[
                "another knockd uses /sys/fs/bpf/knockd",
                "in another network namespace",
                "set another `gate.pin_dir`",
            ],
        );
        gated.refuses(STRANGER);
    }
    assert!(gated.ask(&["leases"]).contains("no"), "it still runs");
}

#[test]
fn the_gate_of_a_stopped_knockd_is_left_alone() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.scene.stop().unwrap();
    let files = second();
    let theirs = gated.scene.files.path("knockd.toml");
    let theirs = format!("configuration {}", theirs.display());
    let expected = [
        "are those of another knockd",
        &theirs,
        "in another network namespace",
        "detach --take-over",
    ];
    is_refused(elsewhere(&gated, &files, &["--iface", "lo"]), &expected);
    is_refused(elsewhere(&gated, &files, &["detach"]), &expected);

    let mut here = gated.scene.pair.server.command(program("knockd").unwrap());
    here.args(["--iface", Pair::SERVER_INTERFACE, "--config"]);
    here.arg(files.path("knockd.toml"));
    is_refused(here, &["are those of another knockd", "in this network"]);

    gated.refuses(STRANGER);
    gated.scene.restart().unwrap();
    gated.refuses(STRANGER);
}

/// Also with a configuration that has no gate, which removes its own.
#[test]
fn a_knockd_without_a_gate_leaves_that_of_another_alone() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.scene.stop().unwrap();
    let files = Files::new(knock_tests::scene::CONFIGURATION).unwrap();
    let other = Running::spawn(elsewhere(&gated, &files, &["--iface", "lo"])).unwrap();
    other
        .wait_for(|line| line.contains("listening on lo"), SOON)
        .unwrap();
    let lines = other.lines();
    let is_told = |line: &knock_tests::process::Line| line.text.contains("its gate is left alone");
    assert!(lines.iter().any(is_told), "{lines:?}");
    gated.refuses(STRANGER);
}

#[test]
fn the_gate_of_a_knockd_that_is_gone_can_be_taken_over_on_purpose() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.scene.stop().unwrap();
    let files = second();
    let arguments = ["--iface", "lo", "--take-over"];
    let other = Running::spawn(elsewhere(&gated, &files, &arguments)).unwrap();
    other
        .wait_for(|line| line.contains("listening on lo"), SOON)
        .unwrap();
    gated.admits(STRANGER);
    // Now they are the second daemon's.
    let mut first = gated.scene.pair.server.command(program("knockd").unwrap());
    first.args(["--iface", Pair::SERVER_INTERFACE, "--config"]);
    first.arg(gated.scene.files.path("knockd.toml"));
    is_refused(first, &["another knockd uses", "in another network"]);
    drop(other);
    let (detached, errors) = output(elsewhere(&gated, &files, &["detach", "--take-over"]));
    assert!(detached.status.success(), "{errors}");
    gated.scene.restart().unwrap();
    gated.refuses(STRANGER);
}

#[test]
fn detach_tells_that_the_gate_was_anothers() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.scene.stop().unwrap();
    let files = second();
    let (detached, errors) = output(elsewhere(&gated, &files, &["detach", "--take-over"]));
    assert!(detached.status.success(), "{errors}");
    let told = String::from_utf8(detached.stdout).unwrap();
    assert_eq!(told, "the gate of another knockd is removed\n");
    gated.admits(STRANGER);
}

/// An upgrade from a knockd that wrote no such records.
#[test]
fn pins_without_an_owner_are_taken_over_without_a_gap() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.scene.knockd.signal(Signal::SIGKILL).unwrap();
    gated.scene.knockd.wait(SOON).unwrap();
    let server = &gated.scene.pair.server;
    let removed = server
        .command("rm")
        .arg("/sys/fs/bpf/knockd/owner")
        .status();
    assert!(removed.unwrap().success());
    gated.scene.restart().unwrap();
    gated.logged(&["replacing the program of an earlier knockd"]);
    gated.refuses(STRANGER);
    gated.admits(KNOCKER);
}

#[test]
fn a_start_that_is_refused_forgets_no_door() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.scene.knockd.signal(Signal::SIGKILL).unwrap();
    gated.scene.knockd.wait(SOON).unwrap();
    let refused = elsewhere(&gated, &gated.scene.files, &["--iface", "lo"]);
    is_refused(refused, &["the pins in", "its gate is left alone"]);
    gated.admits(KNOCKER);
    gated.scene.restart().unwrap();
    assert_eq!(gated.leases().len(), 1);
    gated.admits(KNOCKER);
}

/// A container that is started again has a new network namespace.
#[test]
fn pins_whose_interfaces_are_gone_are_no_obstacle() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.scene.stop().unwrap();
    gated.scene.pair.server.ip("link del srv0").unwrap();
    let files = second();
    let other = Running::spawn(elsewhere(&gated, &files, &["--iface", "lo"])).unwrap();
    other
        .wait_for(|line| line.contains("taking over the pins"), SOON)
        .unwrap();
    other
        .wait_for(|line| line.contains("listening on lo"), SOON)
        .unwrap();
}
