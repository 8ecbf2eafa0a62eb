//! Evasion techniques over a real link against a real service. Behind the gate no disguised
//! connection attempt gets through; without a gate exactly those arrive that Linux accepts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod host;
mod leases;
mod row;
mod tcp;
mod udp;

use knock_common::{gate::Mode, settings::Destinations};
use knockd_types::rules::Rules;

use crate::{
    host::{CLIENT, Host, enforced},
    row::{Judgement, Row},
};

fn rows() -> Vec<Row> {
    tcp::rows().into_iter().chain(udp::rows()).collect()
}

/// Sends every row to `host` and compares the result with `expected`: whether it was delivered, and
/// which counter of the gate increased.
fn compare(host: &Host, expected: impl Fn(&Row) -> (bool, Option<Judgement>)) {
    let mut mismatches = String::new();
    for (port, row) in (20_000..).zip(rows()) {
        let result = host.send(&row, port);
        let expected = expected(&row);
        if result != expected {
            mismatches += &format!("\n{}: {result:?} instead of {expected:?}", row.name);
        }
    }
    assert!(
        mismatches.is_empty(),
        "(delivered, held back by the gate):{mismatches}"
    );
}

#[test]
fn the_gate_drops_every_row() {
    knock_tests::needs_bpf!();
    let host = Host::with_gate(&enforced());
    compare(&host, |row| (false, row.held_back()));
}

#[test]
fn without_a_gate_the_service_receives_what_linux_accepts() {
    knock_tests::needs_bpf!();
    let host = Host::without_gate();
    compare(&host, |row| (row.delivered_without_gate, None));
}

#[test]
fn observe_mode_counts_the_same_and_drops_nothing() {
    knock_tests::needs_bpf!();
    let host = Host::with_gate(&Rules {
        mode: Mode::Observe,
        ..enforced()
    });
    compare(&host, |row| (row.delivered_without_gate, row.held_back()));
}

#[test]
fn a_trusted_source_is_admitted_with_unambiguous_packets() {
    knock_tests::needs_bpf!();
    let host = Host::with_gate(&Rules {
        trusted: CLIENT.map(Into::into).to_vec(),
        destinations: Destinations::default(),
        addresses: Vec::new(),
        ..enforced()
    });
    compare(&host, clear_only);
}

#[test]
fn a_source_with_a_lease_is_admitted_with_unambiguous_packets() {
    knock_tests::needs_bpf!();
    let mut host = Host::with_gate(&enforced());
    for source in CLIENT {
        host.open(source);
    }
    compare(&host, clear_only);
}

/// The expected result for an admitted source: packets that hide their port are still dropped, and
/// so are packets with a spoofed source.
fn clear_only(row: &Row) -> (bool, Option<Judgement>) {
    match row.held_back() {
        Some(Judgement::Refused) if !row.is_spoofed => (row.delivered_without_gate, None),
        held_back => (row.delivered_without_gate && held_back.is_none(), held_back),
    }
}
