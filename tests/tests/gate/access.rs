//! Who reaches a protected port, and until when.

use std::thread;

use knock_tests::{needs_bpf, process::Signal, scene::SOON};

use crate::{Datagrams, Gated, KNOCKER, STRANGER, TRUSTED};

#[test]
fn a_lease_lets_one_address_in_for_a_while_and_its_connections_go_on() {
    needs_bpf!();
    let gated = Gated::new();
    gated.keeps_out(KNOCKER);
    gated.knock(&[5], KNOCKER);
    let mut session = gated.connect(KNOCKER).unwrap();
    gated.keeps_out(STRANGER);
    gated.logged(&["closed door=\"short\"", "source=192.0.2.2"]);
    gated.keeps_out(KNOCKER);
    assert_eq!(session.ask("still there?").unwrap(), "still there?");
    gated.keeps_out(STRANGER);
    assert!(gated.kernel_count("gate_leased") > 0);
    assert!(gated.kernel_count("gate_refused") > 0);
}

#[test]
fn the_trusted_need_no_knock() {
    needs_bpf!();
    let gated = Gated::new();
    gated.lets_in(TRUSTED);
    gated.keeps_out(STRANGER);
    assert_eq!(gated.kernel_count("gate_trusted"), 1);
}

#[test]
fn an_ipv6_lease_is_for_the_address_or_for_its_network() {
    needs_bpf!();
    let gated = Gated::new();
    let [ours, neighbour] = ["2001:db8::2", "2001:db8::66"].map(|text| text.parse().unwrap());
    gated.scene.pair.add_client_address(neighbour).unwrap();
    gated.keeps_out(ours);
    gated.knock(&[1, 2, 3, 4], ours);
    gated.lets_in(ours);
    gated.keeps_out(neighbour);
    gated.knock(&[9], ours);
    gated.lets_in(neighbour);
    // The address keeps the lease that it has from the other door.
    assert!(
        gated
            .ask(&["close", "2001:db8::66", "network"])
            .contains("network")
    );
    gated.logged(&["closed door=\"network\""]);
    gated.keeps_out(neighbour);
    gated.lets_in(ours);
}

#[test]
fn datagrams_keep_their_lease_going_and_silence_ends_it() {
    needs_bpf!();
    let gated = Gated::new();
    let datagrams = Datagrams::new(&gated);
    datagrams.are_lost(&gated, KNOCKER);
    gated.knock(&[6], KNOCKER);
    // Three times as long as the lease, never two seconds apart.
    for _ in 0..12 {
        datagrams.arrive(&gated, KNOCKER);
        thread::sleep(crate::SILENCE * 5 / 3);
    }
    datagrams.are_lost(&gated, STRANGER);
    assert_eq!(gated.leases()[0]["state"], "open");
    gated.logged(&["closed door=\"vpn\""]);
    datagrams.are_lost(&gated, KNOCKER);
    assert_eq!(gated.leases().len(), 0);
}

#[test]
fn the_gate_opens_before_the_command_and_closes_before_the_other() {
    needs_bpf!();
    let gated = Gated::new();
    gated.knock(&[7], KNOCKER);
    gated.scene.opened("all", KNOCKER).unwrap();
    gated.lets_in(KNOCKER);
    gated.ask(&["close", "192.0.2.2"]);
    gated.logged(&["closed door=\"all\""]);
    gated.keeps_out(KNOCKER);
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
fn a_command_that_fails_closes_nothing() {
    needs_bpf!();
    let gated = Gated::new();
    gated.knock(&[8], KNOCKER);
    gated.logged(&["command run", "failed"]);
    gated.lets_in(KNOCKER);
}

#[test]
fn a_port_that_two_doors_open_is_closed_by_the_last() {
    needs_bpf!();
    let gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.knock(&[5], KNOCKER);
    gated.logged(&["closed door=\"short\""]);
    gated.lets_in(KNOCKER);
    gated.ask(&["close", "192.0.2.2", "ssh"]);
    gated
        .scene
        .knockd
        .wait_for(|line| line.contains("closed door=\"ssh\""), SOON)
        .unwrap();
    gated.keeps_out(KNOCKER);
}

/// The other door's lease is no use of this one.
#[test]
fn a_door_ends_in_time_though_another_keeps_its_port_open() {
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
    gated.lets_in(KNOCKER);
    assert_eq!(gated.leases().len(), 1);
}

#[test]
fn a_further_knock_extends_the_lease() {
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
    gated.lets_in(KNOCKER);
}
