//! Floods of SYNs into the window, and what they do to those who knock meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Context, Effort, Scenario};
use crate::{
    attack::{Attack, Outcome},
    flood::Flood,
    lab::Lab,
    peer::Subject,
    plot::Plot,
    record::{Measurement, Unit},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "flood",
    title: "A flood into the window",
    method: "SYNs from random addresses to random ports of the window, from one thread on the \
             other end of a veth, and 100 genuine knocks from addresses of their own; \
             knockd's three ports are in the window. The daemon's CPU is that of its processes, \
             in the program and in the kernel for it, and the machine's is all that its \
             processors did, the making of the flood and the interrupts included; both before \
             the genuine knocks begin. A firewall behind the daemons drops every SYN.",
    run,
    plot: Some(Plot::Lines {
        unit: Unit::Nanoseconds,
        x: "SYNs a second",
    }),
};

/// No daemon at all, and one after the other.
const SUBJECTS: [Option<Subject>; 4] = [
    None,
    Some(Subject::Sealed),
    Some(Subject::Jvinet),
    Some(Subject::Log),
];

/// The machine without a daemon.
pub(super) const NOBODY: &str = "no daemon";

/// Genuine knocks in each flood.
const KNOCKS: u32 = 100;

/// SYNs a second; the last is as many as the machine makes.
pub(super) fn rates(effort: Effort) -> &'static [Option<u32>] {
    effort.pick(
        &[Some(10_000), None],
        &[Some(10_000), Some(100_000), Some(300_000), None],
    )
}

/// A rate as it stands in tables.
pub(super) fn told(rate: Option<u32>) -> String {
    rate.map_or_else(
        || "as fast as it goes".to_owned(),
        |rate| format!("{} 000 a second", rate / 1000),
    )
}

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    for rate in rates(context.effort) {
        let mut outcomes = Vec::new();
        for subject in SUBJECTS {
            let outcome = attack(context, subject, *rate)
                .with_context(|| format!("{}, {}", name(subject), told(*rate)))?;
            outcomes.push((subject, outcome));
        }
        measurements.extend(tell(&told(*rate), &outcomes));
    }
    Ok(measurements)
}

fn name(subject: Option<Subject>) -> &'static str {
    subject.map_or(NOBODY, Subject::name)
}

fn attack(context: &Context, subject: Option<Subject>, rate: Option<u32>) -> Result<Outcome> {
    let lab = Lab::new(context.out())?;
    let start = |subject: Subject| subject.start(context, &lab.pair.server, &lab.site, &lab.sender);
    let daemon = subject.map(start).transpose()?;
    let attack = Attack {
        flood: Flood {
            rate,
            source: None,
            ports: 61000..61256,
        },
        lasts: Duration::from_secs(context.effort.pick(1, 5)),
        knockers: 0..KNOCKS,
        // What the clients do by themselves.
        copies: if subject == Some(Subject::Sealed) {
            2
        } else {
            1
        },
    };
    attack.run(&lab, daemon.as_ref())
}

/// What was found at one rate.
#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn tell(rate: &str, outcomes: &[(Option<Subject>, Outcome)]) -> Vec<Measurement> {
    let mut measurements = Vec::new();
    let log = outcomes
        .iter()
        .find(|(subject, _)| *subject == Some(Subject::Log))
        .map(|(_, outcome)| outcome.per_syn(outcome.daemon.cpu));
    let daemons = || outcomes.iter().filter(|(subject, _)| subject.is_some());
    for (subject, outcome) in daemons() {
        let share = outcome.accepted as f64 / f64::from(KNOCKS) * 100.0;
        let accepted = Measurement::new(
            format!("{rate}: genuine knocks accepted"),
            name(*subject),
            Unit::Percent,
            &[share],
        );
        measurements.push(match subject {
            Some(Subject::Sealed) => accepted.target("100 of 100", share >= 100.0),
            _ => accepted,
        });
    }
    for (subject, outcome) in daemons() {
        let cpu = outcome.per_syn(outcome.daemon.cpu);
        let spent = Measurement::new(
            format!("{rate}: the daemon's CPU for each SYN"),
            name(*subject),
            Unit::Nanoseconds,
            &[cpu],
        )
        .at(outcome.rate());
        measurements.push(match (subject, log) {
            (Some(Subject::Sealed), Some(log)) => spent
                .beside(Subject::Log.name())
                .target("≤ a tenth of the log's way", cpu * 10.0 <= log),
            (Some(Subject::Log), _) => spent,
            _ => spent.beside(Subject::Log.name()),
        });
    }
    for (subject, outcome) in outcomes {
        let spent = Measurement::new(
            format!("{rate}: the machine's CPU for each SYN"),
            name(*subject),
            Unit::Nanoseconds,
            &[outcome.per_syn(outcome.machine)],
        );
        measurements.push(match subject {
            None => spent,
            Some(_) => spent.beside(NOBODY),
        });
    }
    for (subject, outcome) in outcomes {
        measurements.push(Measurement::new(
            format!("{rate}: SYNs that were sent"),
            name(*subject),
            Unit::PerSecond,
            &[outcome.rate()],
        ));
    }
    for (subject, outcome) in daemons() {
        measurements.push(Measurement::new(
            format!("{rate}: the daemon's peak memory"),
            name(*subject),
            Unit::Bytes,
            &[outcome.daemon.peak as f64],
        ));
    }
    measurements
}
