//! Observe mode of the gate, and dry runs of the daemon.

use knock_tests::{needs_bpf, process::Running, scene::SOON};

use crate::{CONFIGURATION, Gated, KNOCKER, STRANGER};

#[test]
fn observe_mode_counts_logs_and_passes_packets() {
    needs_bpf!();
    let configuration = CONFIGURATION.replace("udp_idle", "mode = \"observe\"\nudp_idle");
    let gated = Gated::with(&configuration);
    gated.admits(STRANGER);
    gated.logged(&["the gate would have dropped 192.0.2.66 to tcp/22"]);
    assert_eq!(gated.kernel_count("gate_refused"), 1);
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.admits(KNOCKER);
    assert_eq!(gated.kernel_count("gate_refused"), 1);
    assert_eq!(gated.kernel_count("gate_leased"), 1);
    let status = gated.ask(&["status"]);
    assert!(status.contains("observe mode"), "{status}");
}

#[test]
fn a_dry_run_logs_what_it_would_do() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.scene.stop().unwrap();
    gated.ask(&["detach"]);
    let mut knockd = knock_tests::scene::knockd(&gated.scene.pair, &gated.scene.files).unwrap();
    knockd.args(["--dry-run", "--iface", "srv0"]);
    gated.scene.knockd = Running::spawn(knockd).unwrap();
    gated.logged(&["dry run"]);

    gated.admits(STRANGER);
    gated.logged(&["would have dropped 192.0.2.66 to tcp/22"]);
    gated.knock(&[7], KNOCKER);
    gated.logged(&["would run run of door \"all\" for 192.0.2.2: \"sh\""]);
    gated.admits(KNOCKER);
    assert_eq!(gated.kernel_count("gate_leased"), 1);
    gated.scene.stop().unwrap();
    gated.admits(STRANGER);
    assert!(gated.scene.files.commands().is_empty());

    gated.scene.restart().unwrap();
    assert!(gated.leases().is_empty(), "the dry run has stored no lease");
    gated.refuses(KNOCKER);
}

/// A dry run does not disturb a gate that is in force.
#[test]
fn a_dry_run_does_not_replace_an_existing_gate() {
    needs_bpf!();
    let mut gated = Gated::new();
    gated.scene.stop().unwrap();
    let mut knockd = knock_tests::scene::knockd(&gated.scene.pair, &gated.scene.files).unwrap();
    knockd.args(["--dry-run", "--iface", "srv0"]);
    let mut dry_run = Running::spawn(knockd).unwrap();
    assert!(!dry_run.wait(SOON).unwrap().success());
    dry_run
        .wait_for(|line| line.contains("knockd detach"), SOON)
        .unwrap();
    gated.refuses(STRANGER);
}
