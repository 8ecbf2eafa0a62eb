//! What the XDP program adds to a packet's way.

mod drained;
mod packet;
mod subject;

use anyhow::Result;

use self::subject::{EMPTY, GATED, LOOK_UP, PLAIN, Programs, compare};
use super::{Context, Effort, Scenario};
use crate::{
    plot::Plot,
    record::{Measurement, Unit},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "program",
    title: "What the XDP program adds to a packet",
    method: "Processor time per packet through `BPF_PROG_TEST_RUN`, beside a program that does \
             nothing, by turns in one run. The gate protects `tcp/22` and `udp/51820`. A SYN to \
             the window is *drained* while the daemon's reader takes the events from the ring; \
             it is *alone* when it comes after a pause, in which the reader has gone to sleep, and \
             then the figure is that of this one packet.",
    run,
    plot: Some(Plot::Bars(Unit::Nanoseconds)),
};

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // The rings are registered with it.
    let entered = runtime.enter();
    let programs = Programs::load()?;
    drop(entered);
    let mut found = other_ports(&programs, context.effort)?;
    found.extend(gate(&programs, context.effort)?);
    found.extend(window(&programs, context.effort)?);
    found.extend(drained::run(&programs.empty, context.effort)?);
    Ok(found)
}

/// What is for nobody here.
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

/// What the gate judges.
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
        let target = format!("≤ 1.5 × and a look-up, {}", gated.unit.show(most));
        found.extend([
            empty,
            look_up.beside(EMPTY),
            gated.beside(EMPTY).target(target, reached),
        ]);
    }
    Ok(found)
}

/// SYNs to the window that nobody reads.
fn window(programs: &Programs, effort: Effort) -> Result<Vec<Measurement>> {
    let mut found = Vec::new();
    for (case, program) in [
        ("SYN to the window, its source over budget", &programs.plain),
        ("SYN to the window, the ring full", &programs.unlimited),
    ] {
        let subjects = [(EMPTY, &programs.empty), (PLAIN, program)];
        let [empty, knockd] = compare(case, &packet::knock()?, subjects, effort)?;
        found.extend([empty, knockd.beside(EMPTY)]);
    }
    Ok(found)
}
