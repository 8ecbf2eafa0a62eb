//! Floods of SYNs into the window, and what they do to those who knock meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Context, Effort, Scenario};
use crate::{
    attack::{Attack, Outcome},
    flood::Flood,
    lab::Lab,
    peer::{Subject, ours},
    plot::Plot,
    record::{Measurement, Unit},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "flood",
    title: "A flood into the window",
    method: "SYNs from random addresses to random ports of the window, from one thread on the \
             other end of a veth, as fast as it goes made by the kernel itself (live frames of \
             `BPF_PROG_TEST_RUN`), and 100 genuine knocks from addresses of their own; \
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

/// A daemon, or none, and what each flood with it has come to.
type Found = (Option<Subject>, Vec<Outcome>);

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    for rate in rates(context.effort) {
        let mut found: Vec<Found> = SUBJECTS.map(|subject| (subject, Vec::new())).into();
        for _ in 0..context.effort.pick(1, 3) {
            for (subject, outcomes) in &mut found {
                let outcome = attack(context, *subject, *rate)
                    .with_context(|| format!("{}, {}", name(*subject), told(*rate)))?;
                outcomes.push(outcome);
            }
        }
        measurements.extend(
            Finding {
                rate: told(*rate),
                found,
            }
            .tell(),
        );
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
        lasts: Duration::from_secs(context.effort.pick(1, 2)),
        knockers: 0..KNOCKS,
        // What the clients do by themselves.
        copies: if subject == Some(Subject::Sealed) {
            ours::copies()
        } else {
            1
        },
    };
    attack.run(&lab, daemon.as_ref())
}

/// What was found at one rate.
struct Finding {
    rate: String,
    found: Vec<Found>,
}

#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
impl Finding {
    fn tell(&self) -> Vec<Measurement> {
        let is_daemon = |measurement: &Measurement| measurement.subject != NOBODY;
        let sent = self.figures("SYNs that arrived", Unit::PerSecond, Outcome::rate);
        let peak = self.figures("the daemon's peak memory", Unit::Bytes, |outcome| {
            outcome.daemon.peak as f64
        });
        let accepted = self.accepted().filter(is_daemon);
        let daemon = self.daemon().filter(is_daemon);
        accepted
            .chain(daemon)
            .chain(self.machine())
            .chain(sent)
            .chain(peak.filter(is_daemon))
            .collect()
    }

    /// A figure of every subject.
    fn figures<'a>(
        &'a self,
        case: &'a str,
        unit: Unit,
        figure: impl Fn(&Outcome) -> f64 + 'a,
    ) -> impl Iterator<Item = Measurement> + 'a {
        self.found.iter().map(move |(subject, outcomes)| {
            let samples: Vec<_> = outcomes.iter().map(&figure).collect();
            Measurement::new(
                format!("{}: {case}", self.rate),
                name(*subject),
                unit,
                &samples,
            )
        })
    }

    fn accepted(&self) -> impl Iterator<Item = Measurement> {
        let share = |outcome: &Outcome| outcome.accepted as f64 / f64::from(KNOCKS) * 100.0;
        let all = self.figures("genuine knocks accepted", Unit::Percent, share);
        all.zip(&self.found)
            .map(|(measurement, (subject, outcomes))| match subject {
                Some(Subject::Sealed) => {
                    let reached = outcomes
                        .iter()
                        .all(|outcome| outcome.accepted == KNOCKS as usize);
                    measurement.target("100 of 100, each time", reached)
                }
                _ => measurement,
            })
    }

    /// What the daemons have spent.
    fn daemon(&self) -> impl Iterator<Item = Measurement> {
        let cost = |outcome: &Outcome| outcome.per_syn(outcome.daemon.cpu);
        let all = || self.figures("the daemon's CPU for each SYN", Unit::Nanoseconds, cost);
        let log = Subject::Log.name();
        let tenth = all()
            .find(|measurement| measurement.subject == log)
            .map_or(f64::NAN, |measurement| measurement.median() / 10.0);
        let rates = self.figures("", Unit::PerSecond, Outcome::rate);
        all().zip(rates).map(move |(measurement, rate)| {
            let reached = measurement.median() <= tenth;
            let measurement = measurement.at(rate.median());
            match &measurement.subject {
                subject if subject == log => measurement,
                subject if subject == Subject::Sealed.name() => measurement
                    .beside(log)
                    .target("≤ a tenth of the log's way", reached),
                _ => measurement.beside(log),
            }
        })
    }

    /// What the whole machine has spent.
    fn machine(&self) -> impl Iterator<Item = Measurement> {
        let cost = |outcome: &Outcome| outcome.per_syn(outcome.machine);
        let all = self.figures("the machine's CPU for each SYN", Unit::Nanoseconds, cost);
        all.map(|measurement| match measurement.subject.as_str() {
            NOBODY => measurement,
            _ => measurement.beside(NOBODY),
        })
    }
}
