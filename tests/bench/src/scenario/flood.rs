//! SYN floods to the window, and their effect on valid knocks.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::definition::Scenario;
use crate::{
    attack::{Attack, Outcome},
    context::{Context, Effort},
    flood::{Flood, Packets, Sources},
    lab::Lab,
    peer::{Subject, ours},
    plot::Plot,
    record::{Measurement, Unit, thousands},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "flood",
    title: "SYN flood to the window",
    method: "One thread at the other end of a veth pair sends SYNs from random addresses to random \
             ports of the window; at the unlimited rate the kernel generates them \
             (`BPF_PROG_TEST_RUN` with live frames). Then the flood continues with 100 valid \
             knocks, each from its own address. The three ports of knockd 0.8 are in the window. \
             Daemon CPU time is that of the daemon's processes in user and kernel mode. System \
             CPU time is that of the whole machine, with the generation of the flood and the \
             interrupts. Both are measured before the valid knocks start. A firewall behind the \
             daemons drops every SYN.",
    run,
    plot: Some(Plot::Lines {
        unit: Unit::Nanoseconds,
        x: "SYNs per second",
    }),
};

/// No daemon, and each daemon alone.
const SUBJECTS: [Option<Subject>; 4] = [
    None,
    Some(Subject::Syn),
    Some(Subject::Jvinet),
    Some(Subject::Log),
];

/// The subject of a measurement without a daemon.
pub(super) const NO_DAEMON: &str = "no daemon";

/// Valid knocks per flood.
const KNOCKS: u32 = 100;

/// SYNs per second; the last rate is unlimited.
pub(super) fn rates(effort: Effort) -> &'static [Option<u32>] {
    effort.pick(
        &[Some(10_000), None],
        &[Some(10_000), Some(100_000), Some(300_000), None],
    )
}

/// A rate for tables.
pub(super) fn label(rate: Option<u32>) -> String {
    rate.map_or_else(
        || "unlimited rate".to_owned(),
        |rate| format!("{} SYN/s", thousands(rate.into())),
    )
}

/// A daemon or none, and the outcomes of its floods.
type Found = (Option<Subject>, Vec<Outcome>);

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    for rate in rates(context.effort) {
        let mut found: Vec<Found> = SUBJECTS.map(|subject| (subject, Vec::new())).into();
        for _ in 0..context.effort.pick(1, 3) {
            for (subject, outcomes) in &mut found {
                let outcome = attack(context, *subject, *rate)
                    .with_context(|| format!("{}, {}", name(*subject), label(*rate)))?;
                outcomes.push(outcome);
            }
        }
        measurements.extend(
            Finding {
                rate: label(*rate),
                found,
            }
            .measurements(),
        );
    }
    Ok(measurements)
}

fn name(subject: Option<Subject>) -> &'static str {
    subject.map_or(NO_DAEMON, Subject::name)
}

fn attack(context: &Context, subject: Option<Subject>, rate: Option<u32>) -> Result<Outcome> {
    let lab = Lab::new(context.out())?;
    let start = |subject: Subject| subject.start(context, &lab.pair.server, &lab.site, &lab.sender);
    let daemon = subject.map(start).transpose()?;
    let attack = Attack {
        flood: Flood {
            packets: Packets::Syns,
            rate,
            sources: Sources::Random,
            ports: 61000..61256,
        },
        lasts: Duration::from_secs(context.effort.pick(1, 2)),
        clients: 0..KNOCKS,
        // The default of each client.
        copies: if subject == Some(Subject::Syn) {
            ours::copies()
        } else {
            1
        },
    };
    attack.run(&lab, daemon.as_ref())
}

/// The outcomes at one rate.
struct Finding {
    rate: String,
    found: Vec<Found>,
}

#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
impl Finding {
    fn measurements(&self) -> Vec<Measurement> {
        let is_daemon = |measurement: &Measurement| measurement.subject != NO_DAEMON;
        let received = self.figures("SYNs received", Unit::PerSecond, Outcome::rate);
        let peak = self.figures("peak daemon memory", Unit::Bytes, |outcome| {
            outcome.daemon.peak as f64
        });
        let accepted = self.accepted().filter(is_daemon);
        let daemon = self.daemon().filter(is_daemon);
        accepted
            .chain(daemon)
            .chain(self.machine())
            .chain(received)
            .chain(peak.filter(is_daemon))
            .collect()
    }

    /// One figure per subject.
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
        let all = self.figures("valid knocks accepted", Unit::Percent, share);
        all.zip(&self.found)
            .map(|(measurement, (subject, outcomes))| match subject {
                Some(Subject::Syn) => {
                    let reached = outcomes
                        .iter()
                        .all(|outcome| outcome.accepted == KNOCKS as usize);
                    measurement.target("100 of 100 in every run", reached)
                }
                _ => measurement,
            })
    }

    /// The CPU time of the daemons.
    fn daemon(&self) -> impl Iterator<Item = Measurement> {
        let cost = |outcome: &Outcome| outcome.per_syn(outcome.daemon.cpu);
        let all = || self.figures("daemon CPU time per SYN", Unit::Nanoseconds, cost);
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
                subject if subject == Subject::Syn.name() => measurement
                    .beside(log)
                    .target("≤ 1/10 of nftables and ulogd2", reached),
                _ => measurement.beside(log),
            }
        })
    }

    /// The CPU time of the whole machine.
    fn machine(&self) -> impl Iterator<Item = Measurement> {
        let cost = |outcome: &Outcome| outcome.per_syn(outcome.machine);
        let all = self.figures("system CPU time per SYN", Unit::Nanoseconds, cost);
        all.map(|measurement| match measurement.subject.as_str() {
            NO_DAEMON => measurement,
            _ => measurement.beside(NO_DAEMON),
        })
    }
}
