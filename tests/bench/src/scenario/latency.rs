//! The latency from the last packet of a knock to the first instruction of its command.

use std::{process::Command, thread, time::Duration};

use anyhow::{Context as _, Result};

use super::{definition::Scenario, flood::NO_DAEMON};
use crate::{
    context::Context,
    lab::{Lab, Site, client_address, now},
    peer::{Daemon, Subject, send},
    plot::Plot,
    record::{Measurement, Unit, quantile},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "latency",
    title: "Latency from the last packet of a knock to the command",
    method: "The sender reads the clock right before it sends the last packet. The command reads it \
             in its first instructions; it is a static program of four system calls. There is one \
             knock at a time, each from another address, after a random pause of up to 20 ms. All \
             daemons run at the same time and receive knocks in turn, fwknopd with pcap only in \
             every fifth round. A SYN knock and a datagram are written to disk before its command starts. \
             *No daemon* is a process that reads the clock and starts the command after the same \
             pause.",
    run,
    plot: Some(Plot::Bars(Unit::Nanoseconds)),
};

const SUBJECTS: [Subject; 6] = [
    Subject::Syn,
    Subject::Datagram,
    Subject::Classic,
    Subject::Jvinet,
    Subject::FwknopUdp,
    Subject::FwknopPcap,
];

const P50: &str = "median";
const P99: &str = "99th percentile";

/// The longest wait for a command.
const PATIENCE: Duration = Duration::from_secs(5);

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let mut fields = Vec::new();
    for subject in SUBJECTS {
        let lab = Lab::new(context.out())?;
        let daemon = subject.start(context, &lab.pair.server, &lab.site, &lab.sender)?;
        fields.push((subject, lab, daemon));
    }
    let mut samples = vec![Vec::new(); fields.len()];
    let site = Site::new(context.out())?;
    let mut alone = Vec::new();
    for index in 0..context.effort.pick(50, 1000) {
        for ((subject, lab, daemon), samples) in fields.iter().zip(&mut samples) {
            // It would take as long as all other daemons together.
            if *subject == Subject::FwknopPcap && index % 5 > 0 {
                continue;
            }
            let took = knock(lab, daemon, index)
                .with_context(|| format!("{}: knock {index}", subject.name()))?;
            samples.push(took);
        }
        alone.push(command_alone(&site, index)?);
    }
    let medians: Vec<_> = samples.iter().map(|all| quantile(all, 0.5)).collect();
    let mut measurements = vec![
        Measurement::new(P50, NO_DAEMON, Unit::Nanoseconds, &alone),
        Measurement::new(P99, NO_DAEMON, Unit::Nanoseconds, &[quantile(&alone, 0.99)]),
    ];
    for (subject, samples) in SUBJECTS.iter().zip(&samples) {
        let name = subject.name();
        let median = Measurement::new(P50, name, Unit::Nanoseconds, samples);
        let tail = quantile(samples, 0.99);
        let tail = Measurement::new(P99, name, Unit::Nanoseconds, &[tail]);
        measurements.push(with_targets(*subject, median, &medians));
        measurements.push(with_targets(*subject, tail, &medians));
    }
    // The table shows one percentile after the other.
    measurements.sort_by_key(|measurement| measurement.case == P99);
    Ok(measurements)
}

/// The latency of the `index`-th knock in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "a few seconds at most")]
fn knock(lab: &Lab, daemon: &Daemon, index: u32) -> Result<f64> {
    let source = client_address(index);
    let knock = daemon.knock(source)?;
    pause();
    let sent = send(&lab.sender, &knock)?;
    let began = lab.site.stamps.wait(source, PATIENCE);
    let began = began.context("its command did not start")?;
    Ok(began.saturating_sub(sent) as f64)
}

/// The latency of the command without a knock in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "a few seconds at most")]
fn command_alone(site: &Site, index: u32) -> Result<f64> {
    let source = client_address(index);
    let mut command = Command::new(site.path("stamp"));
    command.arg(site.path("stamps")).arg(source.to_string());
    pause();
    let started = now();
    let mut child = command.spawn()?;
    let began = site.stamps.wait(source, PATIENCE);
    child.wait()?;
    let began = began.context("the command without a knock did not start")?;
    Ok(began.saturating_sub(started) as f64)
}

/// A random pause, so that knocks are not synchronised with timers of a daemon.
fn pause() {
    thread::sleep(Duration::from_micros(fastrand::u64(0..20_000)));
}

/// Adds the targets of knockd-xdp. The baseline is knockd-xdp with SYN knocks.
fn with_targets(subject: Subject, measurement: Measurement, medians: &[f64]) -> Measurement {
    let value = measurement.median();
    let measurement = match subject {
        Subject::Syn => measurement,
        _ => measurement.beside(Subject::Syn.name()),
    };
    if !subject.is_ours() {
        return measurement;
    }
    if measurement.case == P99 {
        return measurement.target("≤ 2 ms", value <= 2e6);
    }
    let peers = SUBJECTS.iter().zip(medians);
    let fastest = peers
        .filter(|(subject, _)| !subject.is_ours())
        .map(|(_, median)| *median)
        .fold(f64::INFINITY, f64::min);
    measurement.target(
        "≤ 300 µs and 50 × faster than each peer",
        value <= 300e3 && value * 50.0 <= fastest,
    )
}
