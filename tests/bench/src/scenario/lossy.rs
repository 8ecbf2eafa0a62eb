//! Client calls over a link with packet loss or reordering.

use std::{
    net::IpAddr,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use knock_tests::relay::Impairment;

use super::definition::Scenario;
use crate::{
    cable::{Line, server_address},
    context::Context,
    lab::client_address,
    peer::{Subject, fwknop, jvinet, ours},
    plot::Plot,
    record::{Measurement, Unit},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "lossy",
    title: "Client calls over a lossy link",
    method: "The real clients run with their default settings, each call from a new address. A relay \
             drops packets, or delays 25 % of them by up to 20 ms. A call succeeds if its command \
             starts. All daemons get the same seed for the random decisions of the relay. Eight \
             calls run at the same time. For knockd 0.8 sequential calls are measured as well: when \
             it completes a knock, it discards the partial knocks that started later.",
    run,
    plot: Some(Plot::Bars(Unit::Percent)),
};

/// A daemon, and the number of simultaneous calls.
#[derive(Clone, Copy, Debug)]
struct Callers {
    subject: Subject,
    count: usize,
}

/// With more simultaneous calls the machine would be the bottleneck.
const EIGHT: usize = 8;

const CALLERS: [Callers; 5] = [
    Callers::new(Subject::Syn, EIGHT),
    Callers::new(Subject::Datagram, EIGHT),
    Callers::new(Subject::Jvinet, 1),
    Callers::new(Subject::Jvinet, EIGHT),
    Callers::new(Subject::FwknopUdp, EIGHT),
];

impl Callers {
    const fn new(subject: Subject, count: usize) -> Self {
        Self { subject, count }
    }

    /// The name in tables.
    fn name(self) -> String {
        let name = self.subject.name();
        match self.count {
            1 => format!("{name}, sequential calls"),
            _ => name.to_owned(),
        }
    }
}

/// The longest wait between sequential calls. By then all delayed packets have arrived and every
/// daemon has started its command.
const SEQUENTIAL_WAIT: Duration = Duration::from_millis(200);

/// How long after the last call a command may still start.
const PATIENCE: Duration = Duration::from_secs(2);

const HOLD: Duration = Duration::from_millis(20);

/// The impairments of the link, in percent of the packets.
#[derive(Clone, Copy, Debug)]
struct Conditions {
    loss: u8,
    reordering: u8,
}

const fn loss(loss: u8) -> Conditions {
    Conditions {
        loss,
        reordering: 0,
    }
}

const REORDERING: Conditions = Conditions {
    loss: 0,
    reordering: 25,
};

const QUICK: &[Conditions] = &[loss(10), REORDERING];
const FULL: &[Conditions] = &[loss(0), loss(2), loss(5), loss(10), loss(20), REORDERING];

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let conditions = context.effort.pick(QUICK, FULL);
    let mut measurements = Vec::new();
    for conditions in conditions {
        let mut shares = Vec::new();
        for callers in CALLERS {
            let share = share(context, callers, *conditions)
                .with_context(|| format!("{}, {}", callers.name(), label(*conditions)))?;
            shares.push((callers, share));
        }
        measurements.extend(self::measurements(*conditions, &shares));
    }
    Ok(measurements)
}

fn label(conditions: Conditions) -> String {
    match conditions {
        Conditions {
            loss,
            reordering: 0,
        } => format!("{loss} % loss"),
        Conditions { reordering, .. } => format!("{reordering} % reordered"),
    }
}

/// The share of calls that succeed, in percent.
fn share(context: &Context, callers: Callers, conditions: Conditions) -> Result<f64> {
    let Callers { subject, count } = callers;
    let calls = context.effort.pick(40, 300);
    let impairment = Impairment {
        loss: f64::from(conditions.loss) / 100.0,
        duplication: 0.0,
        reordering: f64::from(conditions.reordering) / 100.0,
        hold: HOLD,
    };
    let line = Line::new(context, subject, calls, impairment, 1)?;
    let next = AtomicU32::new(0);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= calls {
                            return Ok(());
                        }
                        call(context, &line, subject, index)?;
                        if count == 1 {
                            line.site
                                .stamps
                                .wait(client_address(index), SEQUENTIAL_WAIT);
                        }
                    }
                })
            })
            .collect();
        callers.into_iter().try_for_each(|caller| {
            caller
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a caller thread panicked")))
        })
    })?;
    let count = line
        .site
        .stamps
        .count((0..calls).map(client_address), PATIENCE);
    Ok(f64::from(u32::try_from(count)?) / f64::from(calls) * 100.0)
}

/// Runs the client once, from the `index`-th address.
fn call(context: &Context, line: &Line, subject: Subject, index: u32) -> Result<()> {
    let (source, server) = (
        IpAddr::V4(client_address(index)),
        IpAddr::V4(server_address(index)),
    );
    let mut client = match subject {
        Subject::Jvinet => jvinet::client(context, &line.client, server)?,
        Subject::FwknopUdp | Subject::FwknopPcap => {
            fwknop::client(context, &line.client, &line.site, source, server)?
        }
        Subject::Syn | Subject::Datagram | Subject::Classic | Subject::Log => {
            let mut client = ours::client(context, &line.client, &line.site, server);
            if subject == Subject::Datagram {
                client.arg("--udp");
            }
            client
        }
    };
    run_quietly(&mut client)
}

/// Runs `client` without a terminal.
fn run_quietly(client: &mut Command) -> Result<()> {
    let output = client.stdin(Stdio::null()).output()?;
    // The link cannot make a client fail: an error is a mistake of the benchmark.
    anyhow::ensure!(output.status.success(), "{client:?} failed: {output:?}");
    Ok(())
}

fn measurements(conditions: Conditions, shares: &[(Callers, f64)]) -> Vec<Measurement> {
    let peers = shares
        .iter()
        .filter(|(callers, _)| !callers.subject.is_ours());
    let best = peers.map(|(_, share)| *share).fold(0.0, f64::max);
    let measurement = |(callers, share): &(Callers, f64)| {
        let measurement =
            Measurement::new(label(conditions), callers.name(), Unit::Percent, &[*share]);
        match callers.subject {
            Subject::Syn | Subject::Datagram => {
                measurement.target("not below any peer", *share >= best)
            }
            _ => measurement,
        }
    };
    shares.iter().map(measurement).collect()
}
