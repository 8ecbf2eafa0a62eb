//! The cost of the XDP program per packet.

mod drained;
mod packet;
mod subject;

use anyhow::Result;

use self::subject::{EMPTY, EMPTY_TC, GATED, GATED_TC, KNOCKS, LOOK_UP, PLAIN, Programs, compare};
use super::definition::Scenario;
use crate::{
    context::{Context, Effort},
    plot::Plot,
    record::{Measurement, Unit},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "program",
    title: "Cost of the eBPF program per packet",
    method: "CPU time per packet with `BPF_PROG_TEST_RUN`. The baseline is an empty program; both \
             programs run in turn. The gate protects `tcp/22` and `udp/51820`. Knock datagrams go to \
             port 443. In the case *ring buffer drained* the daemon's reader consumes the events at the same time. In the case \
             *reader asleep* each SYN follows a pause, so it wakes the reader; the figure is the \
             kernel's for this single packet. Of the knock datagrams with a ring buffer that is \
             drained, each is another one and measured alone.",
    run,
    plot: Some(Plot::Bars(Unit::Nanoseconds)),
};

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // The ring buffers are registered with the runtime.
    let entered = runtime.enter();
    let programs = Programs::load()?;
    drop(entered);
    let mut found = other_ports(&programs, context.effort)?;
    found.extend(gate(&programs, context.effort)?);
    found.extend(by_tc(&programs, context.effort)?);
    found.extend(window(&programs, context.effort)?);
    found.extend(datagrams(&programs, context.effort)?);
    found.extend(drained::run(&programs.empty, context.effort)?);
    Ok(found)
}

/// Packets to ports that are neither in the window nor protected.
fn other_ports(programs: &Programs, effort: Effort) -> Result<Vec<Measurement>> {
    let mut found = Vec::new();
    for (case, frame) in packet::to_other_ports()? {
        let subjects = [
            (EMPTY, &programs.empty),
            (PLAIN, &programs.plain),
            (GATED, &programs.gated),
        ];
        let [empty, plain, gated] = compare(case, &frame, subjects, effort)?;
        let most = 1.2 * empty.median();
        found.push(empty);
        for knockd in [plain, gated] {
            let reached = knockd.median() <= most;
            found.push(knockd.beside(EMPTY).target("≤ 1.2 ×", reached));
        }
    }
    Ok(found)
}

/// Packets to protected ports.
fn gate(programs: &Programs, effort: Effort) -> Result<Vec<Measurement>> {
    let mut found = Vec::new();
    for (case, frame) in packet::to_the_gate()? {
        let subjects = [
            (EMPTY, &programs.empty),
            (LOOK_UP, &programs.look_up),
            (GATED, &programs.gated),
        ];
        let [empty, look_up, gated] = compare(case, &frame, subjects, effort)?;
        let most = 0.5 * empty.median() + look_up.median();
        let reached = gated.median() <= most;
        let target = format!("≤ 1.5 × plus one lookup ({})", gated.unit.show(most));
        found.extend([
            empty,
            look_up.beside(EMPTY),
            gated.beside(EMPTY).target(target, reached),
        ]);
    }
    Ok(found)
}

/// The same packets with the tc program. The kernel's work for `BPF_PROG_TEST_RUN` differs from that
/// for XDP, so that there is another baseline.
fn by_tc(programs: &Programs, effort: Effort) -> Result<Vec<Measurement>> {
    let mut found = Vec::new();
    for (case, frame) in packet::to_other_ports()?
        .into_iter()
        .chain(packet::to_the_gate()?)
    {
        let subjects = [
            (EMPTY_TC, &programs.empty_tc),
            (GATED_TC, &programs.gated_tc),
        ];
        let [empty, gated] = compare(&format!("tc: {case}"), &frame, subjects, effort)?;
        found.extend([empty, gated.beside(EMPTY_TC)]);
    }
    Ok(found)
}

/// SYNs to the window without a reader.
fn window(programs: &Programs, effort: Effort) -> Result<Vec<Measurement>> {
    let mut found = Vec::new();
    for (case, program) in [
        (
            "SYN to the window, source over its event rate",
            &programs.plain,
        ),
        ("SYN to the window, ring buffer full", &programs.unlimited),
    ] {
        let subjects = [(EMPTY, &programs.empty), (PLAIN, program)];
        let [empty, knockd] = compare(case, &packet::knock()?, subjects, effort)?;
        found.extend([empty, knockd.beside(EMPTY)]);
    }
    Ok(found)
}

/// The target for the cost of a datagram that is no knock above the empty program, in nanoseconds.
const MOST_FOR_OTHERS: f64 = 120.0;

/// Datagrams to the port of knocks. Each run of the program gets the same one, so that all but the first
/// that are right are copies.
fn datagrams(programs: &Programs, effort: Effort) -> Result<Vec<Measurement>> {
    let mut found = Vec::new();
    for (case, frame, has_target) in [
        (
            "datagram to another port",
            packet::to_another_port()?,
            false,
        ),
        ("datagram with a wrong mac1", packet::no_knock()?, true),
        ("knock datagram, a copy", packet::knock_datagram(0)?, false),
    ] {
        let subjects = [(EMPTY, &programs.empty), (KNOCKS, &programs.knocks)];
        let [empty, knockd] = compare(case, &frame, subjects, effort)?;
        let most = empty.median() + MOST_FOR_OTHERS;
        let reached = knockd.median() <= most;
        let mut knockd = knockd.beside(EMPTY);
        if has_target {
            knockd = knockd.target("≤ empty program + 120 ns", reached);
        }
        found.extend([empty, knockd]);
    }
    Ok(found)
}
