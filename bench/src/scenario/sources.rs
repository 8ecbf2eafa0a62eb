//! Many knocks in progress at once.

mod memory;
mod stream;

use anyhow::Result;

pub(crate) use self::memory::grow;
use self::stream::Stream;
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
             has just timed out. `limits.sources` is raised for a million. Memory is that of a \
             process that does nothing else.",
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

/// `limits.sources` where nothing is configured.
const DEFAULT_SOURCES: usize = 65_536;

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let mut streams = COUNTS.map(Stream::new);
    let pushes = context.effort.pick(50_000, 500_000);
    let mut subjects: Vec<Subject<'_>> = streams
        .iter_mut()
        .map(|stream| -> Subject<'_> { Box::new(|| stream.per_event(pushes)) })
        .collect();
    let samples = interleave(context.effort.pick(7, 21), &mut subjects)?;
    let mut found: Vec<_> = COUNTS
        .iter()
        .zip(&samples)
        .map(|(count, samples)| {
            Measurement::new(name(*count), SUBJECT, Unit::Nanoseconds, samples).at(*count as f64)
        })
        .collect();
    if let [_, from, most] = &mut found[..] {
        let growth = most.median() / from.median();
        *most = most
            .clone()
            .target(format!("≤ {FLAT} × that of {}", name(FROM)), growth <= FLAT);
    }
    let rounds = context.effort.pick(1, 5);
    for count in COUNTS.into_iter().skip(1) {
        found.push(memory::of_halves(count, rounds)?);
    }
    found.push(memory::of_full(DEFAULT_SOURCES, rounds)?);
    Ok(found)
}

fn name(count: usize) -> String {
    match count {
        1 => "one source".to_owned(),
        _ => format!("{} sources", thousands(count as f64)),
    }
}
