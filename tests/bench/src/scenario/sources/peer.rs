//! jvinet's knockd with many knocks in progress.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::name;
use crate::{
    attack::Attack,
    flood::Flood,
    lab::{Lab, knocker},
    peer::{Subject, jvinet::SEQUENCE},
    record::{Measurement, Unit},
    scenario::Context,
};

/// A daemon that looks through all of them with each SYN can be asked no more than that.
const RATE: u32 = 5000;

/// How long it may take until it has noticed all that have begun.
const PATIENCE: Duration = Duration::from_secs(5);

/// Its processor time for a SYN of somebody who has not begun, while `count` others have.
pub(super) fn per_event(context: &Context, count: u32, rounds: usize) -> Result<Measurement> {
    let cost = || cost(context, count);
    let samples: Vec<_> = (0..rounds)
        .map(|_| cost())
        .collect::<Result<_>>()
        .with_context(|| format!("knockd 0.8 with {count} knocks in progress"))?;
    let case = name(count as usize);
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
        let knock = daemon.knock(knocker(index))?;
        lab.sender.send_at_last(&knock[0])?;
        // It keeps up with some, not with all at once.
        if index % 64 == 63 {
            sleep(Duration::from_millis(5));
        }
    }
    while begun()? - before < count as usize {
        ensure!(
            Instant::now() < deadline,
            "it has noticed {} of them",
            begun()? - before
        );
        sleep(Duration::from_millis(20));
    }
    let attack = Attack {
        flood: Flood {
            rate: Some(RATE),
            source: None,
            ports: SEQUENCE[1]..SEQUENCE[1] + 1,
        },
        lasts: Duration::from_secs(1),
        knockers: 0..0,
        copies: 0,
    };
    let outcome = attack.run(&lab, Some(&daemon))?;
    Ok(outcome.per_syn(outcome.daemon.cpu))
}
