//! One hostile address, and many keys that its SYNs could be tried with.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Context, Scenario};
use crate::{
    attack::Attack,
    flood::Flood,
    lab::{Lab, knocker},
    peer::ours,
    record::{Measurement, Unit},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "hostile",
    title: "One hostile source, and a thousand keys",
    method: "SYNs from one address to random ports of the window, as many as one thread of the \
             kernel makes, with 100 genuine knocks from addresses of their own, while the daemon \
             knows 1000 sealed clients, of which the last one knocks. The CPU is the daemon's, as \
             a part of one processor, before the genuine knocks begin.",
    run,
    plot: None,
};

/// Sealed clients.
const CLIENTS: u32 = 1000;

/// Genuine knocks.
const KNOCKS: u32 = 100;

/// Somebody who is not among those who knock.
const HOSTILE: u32 = 50_000;

#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn run(context: &Context) -> Result<Vec<Measurement>> {
    let lab = Lab::new(context.out())?;
    let host = &lab.pair.server;
    let mut daemon = ours::start(context, host, &lab.site, ours::Kind::Sealed, CLIENTS)?;
    daemon
        .awake(&lab.site, &lab.sender)
        .context("knockd does not work with that many clients")?;
    let attack = Attack {
        flood: Flood {
            rate: None,
            source: Some(knocker(HOSTILE)),
            ports: 61000..61256,
        },
        lasts: Duration::from_secs(context.effort.pick(2, 10)),
        knockers: 0..KNOCKS,
        copies: ours::copies(),
    };
    let outcome = attack.run(&lab, Some(&daemon))?;
    let accepted = outcome.accepted as f64 / f64::from(KNOCKS) * 100.0;
    let share = outcome.share(outcome.daemon.cpu);
    let name = "knockd-xdp, 1000 sealed clients";
    Ok(vec![
        Measurement::new("genuine knocks accepted", name, Unit::Percent, &[accepted])
            .target("100 of 100", accepted >= 100.0),
        Measurement::new("the daemon's CPU", name, Unit::Percent, &[share])
            .target("≤ 5 % of a processor: 64 events a second", share <= 5.0),
        Measurement::new(
            "SYNs that arrived",
            name,
            Unit::PerSecond,
            &[outcome.rate()],
        ),
        Measurement::new(
            "the daemon's peak memory",
            name,
            Unit::Bytes,
            &[outcome.daemon.peak as f64],
        ),
    ])
}
