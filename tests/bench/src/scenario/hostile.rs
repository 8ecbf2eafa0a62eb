//! A flood from one source address against a daemon with many clients.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::definition::Scenario;
use crate::{
    attack::Attack,
    context::Context,
    flood::Flood,
    lab::{Lab, client_address},
    peer::ours,
    record::{Measurement, Unit},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "hostile",
    title: "SYN flood from one source, 1,000 clients",
    method: "The kernel sends SYNs from one address to random ports of the window at the highest \
             rate of one thread. Then the flood continues with 100 valid knocks, each from its own \
             address. The daemon has 1,000 clients, of which the last one knocks. Daemon CPU \
             usage is a share of one CPU, measured before the valid knocks start.",
    run,
    plot: None,
};

/// Clients.
const CLIENTS: u32 = 1000;

/// Valid knocks.
const KNOCKS: u32 = 100;

/// The address index of the flood. It must not be that of a client.
const ATTACKER: u32 = 50_000;

#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn run(context: &Context) -> Result<Vec<Measurement>> {
    let lab = Lab::new(context.out())?;
    let host = &lab.pair.server;
    let mut daemon = ours::start(context, host, &lab.site, ours::Kind::Syn, CLIENTS)?;
    daemon
        .wait_until_ready(&lab.site, &lab.sender)
        .context("knockd does not accept knocks with that many clients")?;
    let attack = Attack {
        flood: Flood {
            rate: None,
            source: Some(client_address(ATTACKER)),
            ports: 61000..61256,
        },
        lasts: Duration::from_secs(context.effort.pick(2, 10)),
        clients: 0..KNOCKS,
        copies: ours::copies(),
    };
    let outcome = attack.run(&lab, Some(&daemon))?;
    let accepted = outcome.accepted as f64 / f64::from(KNOCKS) * 100.0;
    let share = outcome.share(outcome.daemon.cpu);
    let name = "knockd-xdp, 1,000 clients";
    Ok(vec![
        Measurement::new("valid knocks accepted", name, Unit::Percent, &[accepted])
            .target("100 of 100", accepted >= 100.0),
        Measurement::new("daemon CPU usage", name, Unit::Percent, &[share])
            .target("≤ 5 % of one CPU, at 64 events/s", share <= 5.0),
        Measurement::new("SYNs received", name, Unit::PerSecond, &[outcome.rate()]),
        Measurement::new(
            "peak daemon memory",
            name,
            Unit::Bytes,
            &[outcome.daemon.peak as f64],
        ),
    ])
}
