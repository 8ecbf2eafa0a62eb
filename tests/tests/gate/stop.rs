//! What is left when the daemon stops, and how it is taken away.

use std::fs;

use knock_tests::needs_bpf;

use crate::{CONFIGURATION, Datagrams, Gated, KNOCKER, STRANGER};

#[test]
fn the_gate_stays_when_the_daemon_stops_and_so_do_its_leases() {
    needs_bpf!();
    let mut gated = Gated::new();
    let datagrams = Datagrams::new(&gated);
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.knock(&[7], STRANGER);
    gated.scene.opened("all", STRANGER).unwrap();
    gated.scene.stop().unwrap();
    gated.lets_in(KNOCKER);
    gated.keeps_out(STRANGER);
    datagrams.are_lost(&gated, STRANGER);
    assert_eq!(gated.scene.files.commands().len(), 2);

    gated.scene.restart().unwrap();
    gated.lets_in(KNOCKER);
    assert_eq!(gated.leases().len(), 1);
    gated.ask(&["close", "192.0.2.2"]);
    gated.logged(&["closed door=\"ssh\""]);
    gated.keeps_out(KNOCKER);
}

#[test]
fn the_gate_goes_with_the_daemon_where_that_is_wanted() {
    needs_bpf!();
    let configuration = CONFIGURATION.replace("udp_idle", "on_stop = \"open\"\nudp_idle");
    let mut gated = Gated::with(&configuration);
    gated.keeps_out(STRANGER);
    gated.scene.stop().unwrap();
    gated.logged(&["the gate is removed", "tcp/22, udp/51820"]);
    gated.lets_in(STRANGER);
}

#[test]
fn detach_takes_everything_away_and_says_so() {
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
    gated.keeps_out(STRANGER);

    gated
        .scene
        .knockd
        .signal(knock_tests::process::Signal::SIGKILL)
        .unwrap();
    gated.scene.knockd.wait(knock_tests::scene::SOON).unwrap();
    gated.keeps_out(STRANGER);
    assert_eq!(
        gated.ask(&["detach"]),
        "detached from srv0\nno longer protected: tcp/22, udp/51820\n"
    );
    gated.lets_in(STRANGER);
    assert_eq!(
        gated.scene.files.commands().len(),
        2,
        "what was owed is done"
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
    gated.keeps_out(KNOCKER);
}

/// With a configuration that cannot be read, above all.
#[test]
fn detach_works_without_a_configuration() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.scene.stop().unwrap();
    gated.keeps_out(STRANGER);
    fs::write(gated.scene.files.path("knockd.toml"), "[gate").unwrap();
    let said = gated.ask(&["detach"]);
    assert!(said.contains("no longer protected: tcp/22"), "{said}");
    gated.lets_in(STRANGER);
}

#[test]
fn a_configuration_without_gate_takes_it_away() {
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
    gated.lets_in(STRANGER);
    gated.scene.stop().unwrap();
    assert!(pins(&gated).is_empty());
}

/// Where nothing can be pinned, the gate works, and it is said that it will not outlive the
/// daemon.
#[test]
fn without_a_bpf_filesystem_the_gate_ends_with_the_daemon() {
    needs_bpf!();
    let configuration = CONFIGURATION.replace("udp_idle", "pin_dir = \"{folder}/pins\"\nudp_idle");
    let mut gated = Gated::with(&configuration);
    gated.logged(&["the gate ends with this process", "not in a bpf filesystem"]);
    gated.keeps_out(STRANGER);
    assert!(gated.ask(&["status"]).contains("it ends with the daemon"));
    gated.scene.stop().unwrap();
    gated.lets_in(STRANGER);
}

fn pins(gated: &Gated) -> String {
    let mut list = gated.scene.pair.server.command("find");
    list.args(["/sys/fs/bpf", "-name", "knockd*"]);
    String::from_utf8(list.output().unwrap().stdout).unwrap()
}
