//! One call of each client over a bad cable.

use std::{
    net::IpAddr,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use knock_tests::relay::Impairment;

use super::{Context, Scenario};
use crate::{
    cable::{Line, server},
    lab::knocker,
    peer::{Subject, fwknop, jvinet, ours},
    plot::Plot,
    record::{Measurement, Unit},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "lossy",
    title: "One call of the client over a bad cable",
    method: "The real clients with their default settings, each call from an address that has \
             not knocked before, over a relay that loses packets or holds a quarter of them \
             back for up to 20 ms. A call has succeeded if its command has begun. The relay's \
             choices follow from a seed, the same for all. Eight call at the same time. \
             jvinet's knockd is called by one after the other too, for whenever a knock is \
             complete it forgets those that others have begun since that one began.",
    run,
    plot: Some(Plot::Bars(Unit::Percent)),
};

/// Those who call a daemon.
#[derive(Clone, Copy, Debug)]
struct Callers {
    subject: Subject,
    count: usize,
}

/// More of them at the same time would measure this machine.
const EIGHT: usize = 8;

const CALLERS: [Callers; 4] = [
    Callers::new(Subject::Sealed, EIGHT),
    Callers::new(Subject::Jvinet, 1),
    Callers::new(Subject::Jvinet, EIGHT),
    Callers::new(Subject::FwknopUdp, EIGHT),
];

impl Callers {
    const fn new(subject: Subject, count: usize) -> Self {
        Self { subject, count }
    }

    /// As they stand in tables.
    fn name(self) -> String {
        let name = self.subject.name();
        match self.count {
            1 => format!("{name}, one after the other"),
            _ => name.to_owned(),
        }
    }
}

/// After it, one who calls alone makes way for the next: whatever the cable held back has
/// arrived, and every daemon has begun its command.
const ALONE: Duration = Duration::from_millis(200);

/// How long after the last call a command may still begin.
const PATIENCE: Duration = Duration::from_secs(2);

const HOLD: Duration = Duration::from_millis(20);

/// What the cable does, in percent: how much it loses, and how much it holds back.
#[derive(Clone, Copy, Debug)]
struct Weather {
    loss: u8,
    reordering: u8,
}

const fn loss(loss: u8) -> Weather {
    Weather {
        loss,
        reordering: 0,
    }
}

const REORDERING: Weather = Weather {
    loss: 0,
    reordering: 25,
};

const QUICK: &[Weather] = &[loss(10), REORDERING];
const FULL: &[Weather] = &[loss(0), loss(2), loss(5), loss(10), loss(20), REORDERING];

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let weathers = context.effort.pick(QUICK, FULL);
    let mut measurements = Vec::new();
    for weather in weathers {
        let mut shares = Vec::new();
        for callers in CALLERS {
            let share = share(context, callers, *weather)
                .with_context(|| format!("{}, {}", callers.name(), told(*weather)))?;
            shares.push((callers, share));
        }
        measurements.extend(tell(*weather, &shares));
    }
    Ok(measurements)
}

fn told(weather: Weather) -> String {
    match weather {
        Weather {
            loss,
            reordering: 0,
        } => format!("{loss} % lost"),
        Weather { reordering, .. } => format!("{reordering} % held back"),
    }
}

/// How many calls of a hundred succeed.
fn share(context: &Context, callers: Callers, weather: Weather) -> Result<f64> {
    let Callers { subject, count } = callers;
    let calls = context.effort.pick(40, 300);
    let impairment = Impairment {
        loss: f64::from(weather.loss) / 100.0,
        duplication: 0.0,
        reordering: f64::from(weather.reordering) / 100.0,
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
                            line.site.stamps.wait(knocker(index), ALONE);
                        }
                    }
                })
            })
            .collect();
        callers.into_iter().try_for_each(|caller| {
            caller
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a caller has panicked")))
        })
    })?;
    let count = line.site.stamps.count((0..calls).map(knocker), PATIENCE);
    Ok(f64::from(u32::try_from(count)?) / f64::from(calls) * 100.0)
}

/// Calls the client once, from the `index`-th address.
fn call(context: &Context, line: &Line, subject: Subject, index: u32) -> Result<()> {
    let (source, server) = (IpAddr::V4(knocker(index)), IpAddr::V4(server(index)));
    let mut client = match subject {
        Subject::Jvinet => jvinet::client(context, &line.client, server)?,
        Subject::FwknopUdp | Subject::FwknopPcap => {
            fwknop::client(context, &line.client, &line.site, source, server)?
        }
        Subject::Sealed | Subject::Classic | Subject::Log => {
            ours::client(context, &line.client, &line.site, server)
        }
    };
    run_quietly(&mut client)
}

/// Like a user who does not look.
fn run_quietly(client: &mut Command) -> Result<()> {
    let output = client.stdin(Stdio::null()).output()?;
    // One that cannot even send would be a mistake of the bench, and not the cable's.
    anyhow::ensure!(output.status.success(), "{client:?} failed: {output:?}");
    Ok(())
}

fn tell(weather: Weather, shares: &[(Callers, f64)]) -> Vec<Measurement> {
    let peers = shares
        .iter()
        .filter(|(callers, _)| callers.subject != Subject::Sealed);
    let best = peers.map(|(_, share)| *share).fold(0.0, f64::max);
    let tell = |(callers, share): &(Callers, f64)| {
        let told = Measurement::new(told(weather), callers.name(), Unit::Percent, &[*share]);
        match callers.subject {
            Subject::Sealed => told.target("not below a peer", *share >= best),
            _ => told,
        }
    };
    shares.iter().map(tell).collect()
}
