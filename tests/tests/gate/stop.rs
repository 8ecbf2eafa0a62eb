//! What remains when the daemon stops, and how it is removed.

use std::fs;

use knock_tests::needs_bpf;

use crate::{CONFIGURATION, Datagrams, Gated, KNOCKER, STRANGER};

#[test]
fn the_gate_and_its_leases_outlive_the_daemon() {
    needs_bpf!();
    let mut gated = Gated::new();
    let datagrams = Datagrams::new(&gated);
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.knock(&[7], STRANGER);
    gated.scene.opened("all", STRANGER).unwrap();
    gated.scene.stop().unwrap();
    gated.admits(KNOCKER);
    gated.refuses(STRANGER);
    datagrams.are_lost(&gated, STRANGER);
    assert_eq!(gated.scene.files.commands().len(), 2);

    gated.scene.restart().unwrap();
    gated.admits(KNOCKER);
    assert_eq!(gated.leases().len(), 1);
    gated.ask(&["close", "192.0.2.2"]);
    gated.logged(&["closed door=\"ssh\""]);
    gated.refuses(KNOCKER);
}

#[test]
fn the_gate_is_removed_on_stop_if_configured() {
    needs_bpf!();
    let configuration = CONFIGURATION.replace("udp_idle", "on_stop = \"open\"\nudp_idle");
    let mut gated = Gated::with(&configuration);
    gated.refuses(STRANGER);
    gated.scene.stop().unwrap();
    gated.logged(&["the gate is removed", "tcp/22, udp/51820"]);
    gated.admits(STRANGER);
}

#[test]
fn detach_removes_and_reports_everything() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.knock(&[7], KNOCKER);
    gated.scene.opened("all", KNOCKER).unwrap();
    let refused = gated.knockd(&["detach"]);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && error.contains("another knockd"),
        "{error}"
    );
    gated.refuses(STRANGER);

    gated
        .scene
        .knockd
        .signal(knock_tests::process::Signal::SIGKILL)
        .unwrap();
    gated.scene.knockd.wait(knock_tests::scene::SOON).unwrap();
    gated.refuses(STRANGER);
    assert_eq!(
        gated.ask(&["detach"]),
        "detached from srv0\nno longer protected: tcp/22, udp/51820\n"
    );
    gated.admits(STRANGER);
    assert_eq!(
        gated.scene.files.commands().len(),
        2,
        "the closing command has run"
    );
    let programs = gated
        .scene
        .pair
        .server
        .ip("-details link show srv0")
        .unwrap();
    assert!(!programs.contains("xdp"), "{programs}");
    assert!(pins(&gated).is_empty());
    assert_eq!(gated.ask(&["detach"]), "nothing was attached\n");

    gated.scene.restart().unwrap();
    assert!(gated.leases().is_empty());
    gated.refuses(KNOCKER);
}

/// Most useful when the configuration is invalid.
#[test]
fn detach_works_without_a_configuration() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.scene.stop().unwrap();
    gated.refuses(STRANGER);
    fs::write(gated.scene.files.path("knockd.toml"), "[gate").unwrap();
    let answer = gated.ask(&["detach"]);
    assert!(answer.contains("no longer protected: tcp/22"), "{answer}");
    gated.admits(STRANGER);
}

#[test]
fn a_start_without_a_gate_section_removes_the_gate() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.scene.stop().unwrap();
    let (before, _) = CONFIGURATION.split_once("[gate]").unwrap();
    let folder = gated.scene.files.path("");
    let configuration = before
        .replace("{folder}", folder.to_str().unwrap().trim_end_matches('/'))
        .replace("open = [\"tcp/22\"]", "run = [\"true\"]")
        .replace("open = [\"udp/51820\"]", "run = [\"true\"]")
        .replace("open = [\"tcp/22\", \"udp/51820\"]\n", "")
        .replace("ipv6_prefix = 64\n", "")
        .replace("run = [\"true\"]\nrun = [\"false\"]", "run = [\"false\"]");
    fs::write(gated.scene.files.path("knockd.toml"), configuration).unwrap();
    gated.scene.restart().unwrap();
    gated.logged(&["the gate of a previous knockd is removed"]);
    gated.admits(STRANGER);
    gated.scene.stop().unwrap();
    assert!(pins(&gated).is_empty());
}

/// If nothing can be pinned, the gate works, and the daemon logs that it ends with the process.
#[test]
fn without_a_bpf_filesystem_the_gate_ends_with_the_daemon() {
    needs_bpf!();
    let configuration = CONFIGURATION.replace("udp_idle", "pin_dir = \"{folder}/pins\"\nudp_idle");
    let mut gated = Gated::with(&configuration);
    gated.logged(&["the gate ends with this process", "not in a bpf filesystem"]);
    gated.refuses(STRANGER);
    assert!(gated.ask(&["status"]).contains("it ends with the daemon"));
    gated.scene.stop().unwrap();
    gated.admits(STRANGER);
}

fn pins(gated: &Gated) -> String {
    let mut list = gated.scene.pair.server.command("find");
    list.args(["/sys/fs/bpf", "-name", "knockd*"]);
    String::from_utf8(list.output().unwrap().stdout).unwrap()
}
