//! knockd 0.8 with many partial knocks.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::label::sources;
use crate::{
    attack::Attack,
    context::Context,
    flood::{Flood, Packets, Sources},
    lab::{Lab, client_address},
    peer::{Subject, jvinet::SEQUENCE},
    record::{Measurement, Unit},
};

/// SYNs per second: more are too many for a daemon that searches all partial knocks per SYN.
const RATE: u32 = 5000;

/// How long the daemon may take to register all partial knocks.
const PATIENCE: Duration = Duration::from_secs(5);

/// The CPU time per SYN from a source without a partial knock, with `count` partial knocks of
/// other sources.
pub(super) fn per_event(context: &Context, count: u32, rounds: usize) -> Result<Measurement> {
    let cost = || cost(context, count);
    let samples: Vec<_> = (0..rounds)
        .map(|_| cost())
        .collect::<Result<_>>()
        .with_context(|| format!("knockd 0.8 with {count} partial knocks"))?;
    let case = sources(count as usize);
    Ok(
        Measurement::new(case, Subject::Jvinet.name(), Unit::Nanoseconds, &samples)
            .at(count.into()),
    )
}

fn cost(context: &Context, count: u32) -> Result<f64> {
    let lab = Lab::new(context.out())?;
    let daemon = Subject::Jvinet.start(context, &lab.pair.server, &lab.site, &lab.sender)?;
    let log = lab.site.path("knockd.log");
    let begun = || -> Result<usize> { Ok(fs::read_to_string(&log)?.matches(": Stage 1").count()) };
    let before = begun()?;
    let deadline = Instant::now() + PATIENCE;
    for index in 0..count {
        let knock = daemon.knock(client_address(index))?;
        lab.sender.send_with_retry(&knock[0])?;
        // A burst of all SYNs would overflow its capture buffer.
        if index % 64 == 63 {
            sleep(Duration::from_millis(5));
        }
    }
    while begun()? - before < count as usize {
        ensure!(
            Instant::now() < deadline,
            "it has registered {} of them",
            begun()? - before
        );
        sleep(Duration::from_millis(20));
    }
    let attack = Attack {
        flood: Flood {
            packets: Packets::Syns,
            rate: Some(RATE),
            sources: Sources::Random,
            ports: SEQUENCE[1]..SEQUENCE[1] + 1,
        },
        lasts: Duration::from_secs(1),
        clients: 0..0,
        copies: 0,
    };
    let outcome = attack.run(&lab, Some(&daemon))?;
    Ok(outcome.per_syn(outcome.daemon.cpu))
}
