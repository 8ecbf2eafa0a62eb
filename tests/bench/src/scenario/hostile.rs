//! Floods against a daemon with many clients.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::definition::Scenario;
use crate::{
    attack::{Attack, Outcome},
    context::Context,
    flood::{Flood, Packets, Sources},
    lab::{Lab, client_address},
    peer::ours,
    record::{Measurement, Unit, thousands},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "hostile",
    title: "SYN floods against many clients",
    method: "In the first flood the kernel sends SYNs from one address to random ports of the window \
             at the highest rate of one thread. In the others a packet socket sends them from many \
             addresses in turn, 64 per second from each, which is what the kernel lets through: all \
             that come are blocks that have to be tried with every client's key. Each flood \
             continues with 100 valid knocks, each from its own address. The daemon has 1,000 or \
             10,000 clients, of which the last one knocks. Daemon CPU usage is a share of one CPU, \
             measured before the valid knocks start.",
    run,
    plot: None,
};

/// Valid knocks.
const KNOCKS: u32 = 100;

/// The address index of the flood. It must not be that of a client.
const ATTACKER: u32 = 50_000;

/// SYNs per second of each address in a flood from many: the kernel's limit by default.
const PER_ADDRESS: u32 = 64;

/// Clients, and SYNs per second from many addresses.
const SEQUENCES: [(u32, u32); 4] = [
    (1000, 64_000),
    (1000, 500_000),
    (10_000, 64_000),
    (10_000, 500_000),
];

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let one = Flood {
        packets: Packets::Syns,
        rate: None,
        sources: Sources::One(client_address(ATTACKER)),
        ports: 61000..61256,
    };
    let mut found = flooded(context, 1000, one, "one address", Some(5.0))?;
    for (clients, rate) in SEQUENCES {
        let addresses = rate / PER_ADDRESS;
        let many = Flood {
            packets: Packets::Syns,
            rate: Some(rate),
            sources: Sources::Turns(addresses),
            ports: 61000..61256,
        };
        let what = format!("{} addresses", thousands(f64::from(addresses)));
        found.extend(flooded(context, clients, many, &what, None)?);
    }
    Ok(found)
}

/// Measures one flood. The daemon may use `most` percent of one CPU.
#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn flooded(
    context: &Context,
    clients: u32,
    flood: Flood,
    what: &str,
    most: Option<f64>,
) -> Result<Vec<Measurement>> {
    let outcome = attack(context, clients, flood)?;
    let accepted = outcome.accepted as f64 / f64::from(KNOCKS) * 100.0;
    let share = outcome.share(outcome.daemon.cpu);
    let subject = format!("knockd-xdp, {} clients", thousands(f64::from(clients)));
    let measure = |name: &str, unit, figure| {
        Measurement::new(format!("{what}: {name}"), &subject, unit, &[figure])
    };
    let usage = measure("daemon CPU usage", Unit::Percent, share);
    Ok(vec![
        measure("valid knocks accepted", Unit::Percent, accepted)
            .target("100 of 100", accepted >= 100.0),
        match most {
            Some(most) => usage.target(
                format!("≤ {most} % of one CPU, at 64 events/s"),
                share <= most,
            ),
            None => usage,
        },
        measure("SYNs received", Unit::PerSecond, outcome.rate()),
        measure(
            "peak daemon memory",
            Unit::Bytes,
            outcome.daemon.peak as f64,
        ),
    ])
}

fn attack(context: &Context, clients: u32, flood: Flood) -> Result<Outcome> {
    let lab = Lab::new(context.out())?;
    let host = &lab.pair.server;
    let mut daemon = ours::start(context, host, &lab.site, ours::Kind::Syn, clients)?;
    daemon
        .wait_until_ready(&lab.site, &lab.sender)
        .context("knockd does not accept knocks with that many clients")?;
    let attack = Attack {
        flood,
        lasts: Duration::from_secs(context.effort.pick(2, 10)),
        clients: 0..KNOCKS,
        copies: ours::copies(),
    };
    attack.run(&lab, Some(&daemon))
}
