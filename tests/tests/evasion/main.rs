//! What an attacker can do to a packet so that the gate does not see a connection in it, over
//! a real link and against a real service: behind the gate nothing gets through, and in front
//! of none exactly what Linux takes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod host;
mod leases;
mod row;
mod tcp;
mod udp;

use knock_common::gate::Mode;
use knockd_types::rules::Rules;

use crate::{
    host::{CLIENT, Host, enforced},
    row::{Judgement, Row},
};

fn rows() -> Vec<Row> {
    tcp::rows().into_iter().chain(udp::rows()).collect()
}

/// Sends every row to `host` and compares what became of it with `expected`: whether it was
/// delivered, and what the gate counted.
fn compare(host: &Host, expected: impl Fn(&Row) -> (bool, Option<Judgement>)) {
    let mut surprises = String::new();
    for (port, row) in (20_000..).zip(rows()) {
        let became = host.send(&row, port);
        let expected = expected(&row);
        if became != expected {
            surprises += &format!("\n{}: {became:?} instead of {expected:?}", row.name);
        }
    }
    assert!(
        surprises.is_empty(),
        "(delivered, held back by the gate):{surprises}"
    );
}

#[test]
fn nothing_gets_past_the_gate() {
    knock_tests::needs_bpf!();
    let host = Host::with_gate(&enforced());
    compare(&host, |row| (false, row.held_back()));
}

#[test]
fn without_a_gate_everything_reaches_the_service_that_linux_takes() {
    knock_tests::needs_bpf!();
    let host = Host::without_gate();
    compare(&host, |row| (row.delivered_without_gate, None));
}

#[test]
fn a_gate_that_observes_counts_the_same_and_holds_nothing_back() {
    knock_tests::needs_bpf!();
    let host = Host::with_gate(&Rules {
        mode: Mode::Observe,
        ..enforced()
    });
    compare(&host, |row| (row.delivered_without_gate, row.held_back()));
}

#[test]
fn who_is_trusted_gets_through_with_what_is_clear() {
    knock_tests::needs_bpf!();
    let host = Host::with_gate(&Rules {
        trusted: CLIENT.map(Into::into).to_vec(),
        ..enforced()
    });
    compare(&host, clear_only);
}

#[test]
fn who_has_a_lease_gets_through_with_what_is_clear() {
    knock_tests::needs_bpf!();
    let mut host = Host::with_gate(&enforced());
    for source in CLIENT {
        host.open(source);
    }
    compare(&host, clear_only);
}

/// What becomes of a row whose source may enter: what hides its port is held back anyway, and
/// so is who hides as somebody else.
fn clear_only(row: &Row) -> (bool, Option<Judgement>) {
    match row.held_back() {
        Some(Judgement::Refused) if !row.is_disguised => (row.delivered_without_gate, None),
        held_back => (row.delivered_without_gate && held_back.is_none(), held_back),
    }
}
