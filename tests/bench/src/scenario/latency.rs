//! The latency from the last packet of a knock to the first instruction of its command.

use std::{
    fs::{self, File, OpenOptions},
    net::Ipv4Addr,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::fs::OFlags;

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
             every fifth round. A SYN knock and a datagram are written to disk before its command \
             starts; the peers and a classic knock need no such write. *No daemon* is a process that \
             reads the clock and starts the command after the same pause; *no daemon, after a durable \
             write* first writes 64 bytes as the daemon does. After a pause such a write takes several \
             times as long as in a row.",
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

/// The subject that shows what no daemon can avoid that stores each knock.
const DURABLE: &str = "no daemon, after a durable write";

/// The distance of the address indices of the commands after a durable write from the others.
const LATER: u32 = 20_000;

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
    let disk = Disk::new(&site)?;
    let (mut alone, mut durable) = (Vec::new(), Vec::new());
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
        alone.push(command_alone(&site, client_address(index), || Ok(()))?);
        let source = client_address(LATER + index);
        durable.push(command_alone(&site, source, || disk.write())?);
    }
    let medians: Vec<_> = samples.iter().map(|all| quantile(all, 0.5)).collect();
    let mut measurements = vec![
        Measurement::new(P50, NO_DAEMON, Unit::Nanoseconds, &alone),
        Measurement::new(P99, NO_DAEMON, Unit::Nanoseconds, &[quantile(&alone, 0.99)]),
    ];
    measurements.extend([
        Measurement::new(P50, DURABLE, Unit::Nanoseconds, &durable),
        Measurement::new(P99, DURABLE, Unit::Nanoseconds, &[quantile(&durable, 0.99)]),
    ]);
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

/// The latency of the command of `source` without a knock, and of what is done `before`, in
/// nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "a few seconds at most")]
fn command_alone(
    site: &Site,
    source: Ipv4Addr,
    before: impl FnOnce() -> Result<()>,
) -> Result<f64> {
    let mut command = Command::new(site.path("stamp"));
    command.arg(site.path("stamps")).arg(source.to_string());
    pause();
    let started = now();
    before()?;
    let mut child = command.spawn()?;
    let began = site.stamps.wait(source, PATIENCE);
    child.wait()?;
    let began = began.context("the command without a knock did not start")?;
    Ok(began.saturating_sub(started) as f64)
}

/// A file that is written as the daemon's store is.
struct Disk(File);

impl Disk {
    fn new(site: &Site) -> Result<Self> {
        let path = site.path("record");
        fs::write(&path, [0; 4096])?;
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(OFlags::DSYNC.bits().cast_signed())
            .open(path)?;
        file.sync_all()?;
        Ok(Self(file))
    }

    /// Writes a record. On return it is on disk.
    fn write(&self) -> Result<()> {
        Ok(self.0.write_all_at(&[1; 64], 0)?)
    }
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
    let median = |other: Subject| {
        let all = SUBJECTS.iter().zip(medians);
        let mut medians = all.filter(|(subject, _)| **subject == other);
        medians.next().map_or(f64::NAN, |(_, median)| *median)
    };
    match subject {
        Subject::Syn => measurement.target("≤ 500 µs", value <= 500e3),
        Subject::Datagram => measurement.target(
            "≤ fwknopd's UDP server, and ≤ SYN",
            value <= median(Subject::FwknopUdp) && value <= median(Subject::Syn),
        ),
        _ => measurement.target("≤ 300 µs", value <= 300e3),
    }
}
