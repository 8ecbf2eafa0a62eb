//! SYN floods to ports outside the window: the cost for traffic that is not for knockd.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::XdpMode;
use knock_tests::link::Pair;

use super::{
    definition::Scenario,
    flood::{NO_DAEMON, label, rates},
};
use crate::{
    attack::{Attack, Outcome},
    context::Context,
    flood::{Flood, Packets, Sources},
    lab::Lab,
    peer::Subject,
    plot::Plot,
    record::{Measurement, Subject as Measured, Unit, interleave},
    xdp::Empty,
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "outside",
    title: "SYN flood outside the window",
    method: "SYNs from random addresses to ports outside the window. The figure is the CPU time of \
             the whole machine per SYN, with the generation of the flood. The subjects are knockd, \
             an empty XDP program, the same empty program again (the difference between the two is \
             the measurement error), and no XDP program.",
    run,
    plot: Some(Plot::Bars(Unit::Nanoseconds)),
};

const EMPTY: &str = "empty XDP program";
const AGAIN: &str = "empty XDP program, repeated";

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let bare = Lab::new(context.out())?;
    let (empty, _empty) = with_empty_program(context)?;
    let (again, _again) = with_empty_program(context)?;
    let ours = Lab::new(context.out())?;
    let subject = Subject::Syn;
    let _daemon = subject.start(context, &ours.pair.server, &ours.site, &ours.sender)?;
    let labs = [
        (NO_DAEMON, bare),
        (EMPTY, empty),
        (subject.name(), ours),
        (AGAIN, again),
    ];

    let mut measurements = Vec::new();
    for rate in rates(context.effort) {
        let attack = Attack {
            flood: Flood {
                packets: Packets::Syns,
                rate: *rate,
                sources: Sources::Random,
                ports: 20_000..30_000,
            },
            lasts: Duration::from_secs(context.effort.pick(1, 2)),
            clients: 0..0,
            copies: 0,
        };
        let cost = |lab| {
            let outcome: Outcome = attack.run(lab, None)?;
            Ok(outcome.per_syn(outcome.machine))
        };
        let mut subjects = labs
            .each_ref()
            .map(|(_, lab)| -> Measured<'_> { Box::new(|| cost(lab)) });
        let samples = interleave(context.effort.pick(1, 3), &mut subjects)?;
        let all = labs.iter().zip(&samples).map(|((name, _), samples)| {
            Measurement::new(label(*rate), *name, Unit::Nanoseconds, samples).beside(EMPTY)
        });
        measurements.extend(with_target(all.collect()));
    }
    Ok(measurements)
}

/// A lab with the empty program on the interface of the server.
fn with_empty_program(context: &Context) -> Result<(Lab, Empty)> {
    let lab = Lab::new(context.out())?;
    let mut empty = Empty::load()?;
    lab.pair.server.run(|| {
        let attached = empty
            .program()?
            .attach(Pair::SERVER_INTERFACE, XdpMode::Driver);
        attached.context("cannot attach the empty program")?;
        Ok(())
    })?;
    Ok((lab, empty))
}

/// Adds the target of knockd-xdp.
fn with_target(all: Vec<Measurement>) -> Vec<Measurement> {
    let most = all
        .iter()
        .filter(|measurement| [EMPTY, AGAIN].contains(&measurement.subject.as_str()))
        .map(|empty| empty.summary.upper.max(empty.median() * 1.02))
        .fold(f64::NAN, f64::max);
    let ours = Subject::Syn.name();
    all.into_iter()
        .map(|measurement| {
            if measurement.subject != ours {
                return measurement;
            }
            let reached = measurement.median() <= most;
            measurement.target("within the spread of the empty programs or 2 %", reached)
        })
        .collect()
}
