//! Floods of SYNs to other ports than those of the window: what everybody pays all the time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::XdpMode;
use knock_tests::link::Pair;

use super::{
    Context, Scenario,
    flood::{NOBODY, rates, told},
};
use crate::{
    attack::{Attack, Outcome},
    flood::Flood,
    lab::Lab,
    peer::Subject,
    plot::Plot,
    record::{Measurement, Subject as Measured, Unit, interleave},
    xdp::Empty,
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "outside",
    title: "A flood outside the window",
    method: "SYNs from random addresses to other ports. What counts is the processor time of the \
             whole machine, the making of the flood included, for each SYN; with our daemon, with \
             an XDP program that does nothing in its place, and with none.",
    run,
    plot: Some(Plot::Bars(Unit::Nanoseconds)),
};

const EMPTY: &str = "empty XDP program";

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let [bare, empty, ours] = [(); 3].map(|()| Lab::new(context.out()));
    let (bare, empty, ours) = (bare?, empty?, ours?);
    let mut program = Empty::load()?;
    empty.pair.server.run(|| {
        let program = program.program()?;
        program
            .attach(Pair::SERVER_INTERFACE, XdpMode::Driver)
            .context("the empty program cannot be attached")?;
        Ok(())
    })?;
    let subject = Subject::Sealed;
    let _daemon = subject.start(context, &ours.pair.server, &ours.site, &ours.sender)?;

    let mut measurements = Vec::new();
    for rate in rates(context.effort) {
        let attack = Attack {
            flood: Flood {
                rate: *rate,
                source: None,
                ports: 20_000..30_000,
            },
            lasts: Duration::from_secs(context.effort.pick(1, 2)),
            knockers: 0..0,
            copies: 0,
        };
        let cost = |lab| {
            let outcome: Outcome = attack.run(lab, None)?;
            Ok(outcome.per_syn(outcome.machine))
        };
        let mut subjects: [Measured<'_>; 3] = [
            Box::new(|| cost(&bare)),
            Box::new(|| cost(&empty)),
            Box::new(|| cost(&ours)),
        ];
        let samples = interleave(context.effort.pick(1, 3), &mut subjects)?;
        let [bare, empty, ours] = [NOBODY, EMPTY, subject.name()];
        let all: Vec<_> = [bare, empty, ours]
            .into_iter()
            .zip(&samples)
            .map(|(name, samples)| {
                Measurement::new(told(*rate), name, Unit::Nanoseconds, samples).beside(EMPTY)
            })
            .collect();
        measurements.extend(judged(all));
    }
    Ok(measurements)
}

/// Ours has a target.
fn judged(all: Vec<Measurement>) -> Vec<Measurement> {
    let empty = all.iter().find(|measurement| measurement.subject == EMPTY);
    let most = empty.map_or(f64::NAN, |empty| {
        empty.summary.upper.max(empty.median() * 1.02)
    });
    let ours = Subject::Sealed.name();
    all.into_iter()
        .map(|measurement| {
            if measurement.subject != ours {
                return measurement;
            }
            let reached = measurement.median() <= most;
            measurement.target("within the empty program's spread, or 2 %", reached)
        })
        .collect()
}
