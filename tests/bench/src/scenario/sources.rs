//! Many knocks in progress at once.

mod memory;
mod peer;
mod stream;

use anyhow::Result;

pub(crate) use self::memory::grow;
use self::stream::{Order, Stream};
use super::{Context, Scenario};
use crate::{
    plot::Plot,
    record::{Measurement, Subject, Unit, interleave, thousands},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "sources",
    title: "Knocks in progress",
    method: "The daemon's assembler with so many sources, each with half a knock: every SYN is of \
             another source than the one before, and so late that the oldest of its own source \
             has just timed out. They come in batches of 256, as the daemon reads them in a \
             flood. The sources take turns, or send in another order each time, which is no \
             more that of memory; or each SYN is of a new source, and so many are there already \
             that the oldest makes room. As many SYNs as are measured come before and are not. \
             `limits.sources` is raised for a million. Memory is that of a process that does \
             nothing else. jvinet's knockd looks through all knocks in progress with each SYN to \
             one of its ports: its figure is its processor time for one of somebody who has not \
             begun, 5000 of which come in a second.",
    run,
    plot: Some(Plot::Lines {
        unit: Unit::Nanoseconds,
        x: "sources with half a knock",
    }),
};

const SUBJECT: &str = "knockd";

/// From here on the cost of a SYN must not grow by more than [`FLAT`].
const FROM: usize = 1000;
const FLAT: f64 = 1.5;
const COUNTS: [usize; 3] = [1, FROM, 1_000_000];

/// As far as jvinet's knockd goes: with ten times as many a SYN would take milliseconds.
const PEER_COUNTS: [u32; 3] = [1, 1000, 10_000];

/// `limits.sources` where nothing is configured.
const DEFAULT_SOURCES: usize = 65_536;

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let turns = COUNTS.map(|count| (count, Order::Turns));
    let others = [
        (FROM, Order::Any),
        (1_000_000, Order::Any),
        (FROM, Order::New),
        (DEFAULT_SOURCES, Order::New),
    ];
    let cases = [&turns[..], &others].concat();
    let batches = context.effort.pick(500, 2000);
    // All of them at once, so that what disturbs the machine disturbs all.
    let mut streams: Vec<_> = cases
        .iter()
        .map(|(count, order)| Stream::new(*count, *order))
        .collect();
    let mut subjects: Vec<Subject<'_>> = streams
        .iter_mut()
        .map(|stream| -> Subject<'_> { Box::new(|| stream.per_event(batches)) })
        .collect();
    let samples = interleave(context.effort.pick(7, 21), &mut subjects)?;
    let mut found: Vec<_> = cases
        .iter()
        .zip(&samples)
        .map(|((count, order), samples)| timed(*count, *order, samples))
        .collect();
    if let [_, from, most, ..] = &mut found[..] {
        let growth = most.median() / from.median();
        *most = most
            .clone()
            .target(format!("≤ {FLAT} × that of {}", name(FROM)), growth <= FLAT);
    }
    let rounds = context.effort.pick(1, 5);
    for count in PEER_COUNTS {
        found.push(peer::per_event(context, count, rounds)?);
    }
    for count in COUNTS.into_iter().skip(1) {
        found.push(memory::of_halves(count, rounds)?);
    }
    found.push(memory::of_full(DEFAULT_SOURCES, rounds)?);
    found.push(memory::of_gone(DEFAULT_SOURCES, rounds)?);
    Ok(found)
}

fn timed(count: usize, order: Order, samples: &[f64]) -> Measurement {
    let of = |case| Measurement::new(case, SUBJECT, Unit::Nanoseconds, samples);
    match order {
        Order::Turns => of(name(count)).at(count as f64),
        Order::Any => of(format!("{}, in another order each time", name(count))),
        Order::New => of(format!("{}, and each SYN of a new one", name(count))),
    }
}

fn name(count: usize) -> String {
    match count {
        1 => "one source".to_owned(),
        _ => format!("{} sources", thousands(count as f64)),
    }
}
