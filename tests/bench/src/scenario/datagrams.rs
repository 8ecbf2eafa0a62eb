//! Floods of datagrams to the port of the datagram knocks.

use std::{ops::Range, time::Duration};

use anyhow::{Context as _, Result, ensure};
use knock_tests::scene::DATAGRAM_PORT;

use super::definition::Scenario;
use crate::{
    attack::{Attack, Outcome},
    context::Context,
    flood::{Flood, Packets, Sources},
    lab::{Lab, client_address},
    peer::{Daemon, Subject, ours, send},
    record::{Measurement, Unit},
};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "datagrams",
    title: "Floods of datagrams",
    method: "The kernel sends datagrams from random addresses to the port of the datagram knocks, at \
             the highest rate of one thread. Those of the first flood have the length of a knock, and \
             a wrong mac1. Those of the second are a knock that was accepted before: all have a right \
             mac1. Each flood continues with 100 valid knocks, each from its own address. A wakeup is \
             a voluntary context switch of a thread of the daemon; it and the CPU time are measured \
             before the valid knocks start.",
    run,
    plot: None,
};

/// Valid knocks per flood.
const KNOCKS: u32 = 100;

/// The address index of the client whose knock is recorded.
const RECORDED: u32 = 50_000;

/// How long the recorded knock may take to be accepted.
const PATIENCE: Duration = Duration::from_secs(3);

/// The payload in an Ethernet frame with a datagram.
const PAYLOAD: Range<usize> = 42..186;

/// What the datagrams of a flood are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    WrongMac1,
    Recorded,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::WrongMac1 => "wrong mac1",
            Self::Recorded => "recorded knock",
        }
    }
}

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    for kind in [Kind::WrongMac1, Kind::Recorded] {
        let outcome = attack(context, kind).with_context(|| kind.name())?;
        measurements.extend(figures(kind, &outcome));
    }
    Ok(measurements)
}

fn attack(context: &Context, kind: Kind) -> Result<Outcome> {
    let lab = Lab::new(context.out())?;
    let subject = Subject::Datagram;
    let daemon = subject.start(context, &lab.pair.server, &lab.site, &lab.sender)?;
    let attack = Attack {
        flood: Flood {
            packets: Packets::Datagrams(payload(&lab, &daemon, kind)?),
            rate: None,
            sources: Sources::Random,
            ports: DATAGRAM_PORT..DATAGRAM_PORT + 1,
        },
        lasts: Duration::from_secs(context.effort.pick(2, 10)),
        clients: 0..KNOCKS,
        copies: ours::copies(),
    };
    attack.run(&lab, Some(&daemon))
}

/// What the datagrams of a flood contain.
fn payload(lab: &Lab, daemon: &Daemon, kind: Kind) -> Result<Vec<u8>> {
    let source = client_address(RECORDED);
    let knock = daemon.knock(source)?;
    send(&lab.sender, &knock)?;
    let began = lab.site.stamps.wait(source, PATIENCE);
    ensure!(began.is_some(), "the recorded knock was not accepted");
    let mut payload = knock[0][PAYLOAD].to_vec();
    if kind == Kind::WrongMac1 {
        payload[0] ^= 1;
    }
    Ok(payload)
}

#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn figures(kind: Kind, outcome: &Outcome) -> Vec<Measurement> {
    let measure = |name: &str, unit, figure| {
        let case = format!("{}: {name}", kind.name());
        Measurement::new(case, Subject::Datagram.name(), unit, &[figure])
    };
    let accepted = outcome.accepted as f64 / f64::from(KNOCKS) * 100.0;
    let wakeups = outcome.per_second(outcome.daemon.wakeups);
    let woken = measure("daemon wakeups", Unit::PerSecond, wakeups);
    vec![
        measure("valid knocks accepted", Unit::Percent, accepted)
            .target("100 of 100", accepted >= 100.0),
        match kind {
            Kind::WrongMac1 => woken.target("≤ 4/s: none by the flood", wakeups <= 4.0),
            Kind::Recorded => woken,
        },
        measure(
            "daemon CPU usage",
            Unit::Percent,
            outcome.share(outcome.daemon.cpu),
        ),
        measure("datagrams received", Unit::PerSecond, outcome.rate()),
        measure(
            "peak daemon memory",
            Unit::Bytes,
            outcome.daemon.peak as f64,
        ),
    ]
}
