//! Which sources reach a protected port, and when.

use std::thread;

use knock_tests::{needs_bpf, process::Signal, scene::SOON};

use crate::{CONFIGURATION, Datagrams, Gated, KNOCKER, STRANGER, TRUSTED};

#[test]
fn a_lease_admits_one_address_until_it_expires_and_connections_continue() {
    needs_bpf!();
    let gated = Gated::new();
    gated.refuses(KNOCKER);
    gated.knock(&[5], KNOCKER);
    let mut session = gated.connect(KNOCKER).unwrap();
    gated.refuses(STRANGER);
    gated.logged(&["closed door=\"short\"", "source=192.0.2.2"]);
    gated.refuses(KNOCKER);
    assert_eq!(session.ask("still there?").unwrap(), "still there?");
    gated.refuses(STRANGER);
    assert!(gated.kernel_count("gate_leased") > 0);
    assert!(gated.kernel_count("gate_refused") > 0);
}

#[test]
fn a_trusted_source_is_admitted_without_a_knock() {
    needs_bpf!();
    let gated = Gated::new();
    gated.admits(TRUSTED);
    gated.refuses(STRANGER);
    assert_eq!(gated.kernel_count("gate_trusted"), 1);
}

#[test]
fn an_ipv6_lease_covers_the_address_or_its_prefix() {
    needs_bpf!();
    let gated = Gated::new();
    let [ours, neighbour] = ["2001:db8::2", "2001:db8::66"].map(|text| text.parse().unwrap());
    gated.scene.pair.add_client_address(neighbour).unwrap();
    gated.refuses(ours);
    gated.knock(&[1, 2, 3, 4], ours);
    gated.admits(ours);
    gated.refuses(neighbour);
    gated.knock(&[9], ours);
    gated.admits(neighbour);
    // The lease of the other door for the address itself stays.
    assert!(
        gated
            .ask(&["close", "2001:db8::66", "network"])
            .contains("network")
    );
    gated.logged(&["closed door=\"network\""]);
    gated.refuses(neighbour);
    gated.admits(ours);
}

#[test]
fn datagrams_extend_a_udp_lease_until_it_is_idle() {
    needs_bpf!();
    // Long enough for an emulated machine between two datagrams.
    let gated = Gated::with(&CONFIGURATION.replace(r#"udp_idle = "2s""#, r#"udp_idle = "8s""#));
    let datagrams = Datagrams::new(&gated);
    datagrams.are_lost(&gated, KNOCKER);
    gated.knock(&[6], KNOCKER);
    // Twice the lease's duration.
    for _ in 0..8 {
        datagrams.arrive(&gated, KNOCKER);
        thread::sleep(crate::SILENCE * 5 / 3);
    }
    datagrams.are_lost(&gated, STRANGER);
    assert_eq!(gated.leases()[0]["state"], "in use");
    gated.logged(&["closed door=\"vpn\""]);
    datagrams.are_lost(&gated, KNOCKER);
    assert_eq!(gated.leases().len(), 0);
}

/// Datagrams keep a lease that has expired in use, but none that was revoked.
#[test]
fn a_revoked_udp_lease_ends_although_it_is_in_use() {
    needs_bpf!();
    let gated = Gated::with(&CONFIGURATION.replace(r#"udp_idle = "2s""#, r#"udp_idle = "1h""#));
    let datagrams = Datagrams::new(&gated);
    gated.knock(&[7], KNOCKER);
    gated.scene.opened("all", KNOCKER).unwrap();
    datagrams.arrive(&gated, KNOCKER);
    gated.ask(&["close", "192.0.2.2"]);
    gated.logged(&["closed door=\"all\""]);
    datagrams.are_lost(&gated, KNOCKER);
}

#[test]
fn the_gate_changes_before_each_command_runs() {
    needs_bpf!();
    let gated = Gated::new();
    gated.knock(&[7], KNOCKER);
    gated.scene.opened("all", KNOCKER).unwrap();
    gated.admits(KNOCKER);
    gated.ask(&["close", "192.0.2.2"]);
    gated.logged(&["closed door=\"all\""]);
    gated.refuses(KNOCKER);
    assert_eq!(
        gated.scene.files.commands(),
        ["open 192.0.2.2 phone", "close 192.0.2.2 phone"]
    );
    let lines = gated.scene.knockd.lines();
    let position = |part: &str| lines.iter().position(|line| line.text.contains(part));
    assert!(position("gate open") < position("command run"));
    assert!(position("gate closed") < position("command close"));
}

#[test]
fn a_failed_command_does_not_close_the_gate() {
    needs_bpf!();
    let gated = Gated::new();
    gated.knock(&[8], KNOCKER);
    gated.logged(&["command run", "failed"]);
    gated.admits(KNOCKER);
}

#[test]
fn a_port_opened_by_two_doors_closes_with_the_last() {
    needs_bpf!();
    let gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.knock(&[5], KNOCKER);
    gated.logged(&["closed door=\"short\""]);
    gated.admits(KNOCKER);
    gated.ask(&["close", "192.0.2.2", "ssh"]);
    gated
        .scene
        .knockd
        .wait_for(|line| line.contains("closed door=\"ssh\""), SOON)
        .unwrap();
    gated.refuses(KNOCKER);
}

/// Traffic that another door's lease admits does not extend this lease.
#[test]
fn a_lease_expires_although_another_door_keeps_the_port_open() {
    needs_bpf!();
    let mut gated = Gated::new();
    let datagrams = Datagrams::new(&gated);
    gated.knock(&[7], KNOCKER);
    gated.scene.opened("all", KNOCKER).unwrap();
    gated.knock(&[6], KNOCKER);
    gated.logged(&[" closed door=\"vpn\""]);
    datagrams.arrive(&gated, KNOCKER);

    gated.knock(&[5], KNOCKER);
    gated.scene.knockd.signal(Signal::SIGKILL).unwrap();
    gated.scene.knockd.wait(SOON).unwrap();
    gated.scene.restart().unwrap();
    gated.logged(&[" closed door=\"short\""]);
    gated.admits(KNOCKER);
    assert_eq!(gated.leases().len(), 1);
}

#[test]
fn a_second_knock_extends_the_lease() {
    needs_bpf!();
    let gated = Gated::new();
    gated.knock(&[5], KNOCKER);
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    let seconds = |door: &str| {
        let leases = gated.leases();
        let lease = leases.iter().find(|lease| lease["door"] == door);
        lease.unwrap()["seconds_left"].as_u64().unwrap()
    };
    assert!(seconds("ssh") > 3500);
    gated.logged(&["closed door=\"short\""]);
    gated.admits(KNOCKER);
}
