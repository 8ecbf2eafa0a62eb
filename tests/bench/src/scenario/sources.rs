//! Partial knocks from many sources.

mod label;
mod memory;
mod peer;
mod stream;

use anyhow::Result;

pub(crate) use self::memory::grow;
use self::{
    label::{SUBJECT, sources},
    stream::{Senders, Stream},
};
use super::definition::Scenario;
use crate::{
    context::Context,
    plot::Plot,
    record::{Measurement, Subject, Unit, interleave},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "sources",
    title: "Partial knocks",
    method: "The daemon's assembler holds this number of sources, each with a partial knock. \
             Every SYN comes from another source than the one before, and the oldest SYN of its \
             source has just timed out. SYNs come in batches of 256, as the daemon reads them \
             during a flood. The sources send round-robin; or in a new random order each round, \
             which is not their order in memory; or each SYN comes from a new source and evicts \
             the oldest one. An equal number of SYNs precedes the measurement as a warm-up. \
             `limits.sources` is raised for 1,000,000 sources. Memory is the growth of a process \
             that does nothing else. knockd 0.8 searches all partial knocks for each SYN to one \
             of its ports. Its figure is its CPU time per SYN from a source without a partial \
             knock, at 5,000 SYNs per second.",
    run,
    plot: Some(Plot::Lines {
        unit: Unit::Nanoseconds,
        x: "sources with a partial knock",
    }),
};

/// From this number of sources to the greatest, the cost per SYN may grow by the factor [`FLAT`].
const FROM: usize = 1000;
const FLAT: f64 = 1.5;
const COUNTS: [usize; 3] = [1, FROM, 1_000_000];

/// The numbers for knockd 0.8: with ten times as many sources a SYN would take milliseconds.
const PEER_COUNTS: [u32; 3] = [1, 1000, 10_000];

/// The default of `limits.sources`.
const DEFAULT_SOURCES: usize = 65_536;

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let turns = COUNTS.map(|count| (count, Senders::RoundRobin));
    let others = [
        (FROM, Senders::Shuffled),
        (1_000_000, Senders::Shuffled),
        (FROM, Senders::New),
        (DEFAULT_SOURCES, Senders::New),
    ];
    let cases = [&turns[..], &others].concat();
    let batches = context.effort.pick(500, 2000);
    // All streams in turn, so that a disturbance of the machine affects all of them.
    let mut streams: Vec<_> = cases
        .iter()
        .map(|(count, senders)| Stream::new(*count, *senders))
        .collect();
    let mut subjects: Vec<Subject<'_>> = streams
        .iter_mut()
        .map(|stream| -> Subject<'_> { Box::new(|| stream.per_event(batches)) })
        .collect();
    let samples = interleave(context.effort.pick(7, 21), &mut subjects)?;
    let mut found: Vec<_> = cases
        .iter()
        .zip(&samples)
        .map(|((count, senders), samples)| timed(*count, *senders, samples))
        .collect();
    if let [_, from, most, ..] = &mut found[..] {
        let growth = most.median() / from.median();
        *most = most.clone().target(
            format!("≤ {FLAT} × that of {}", sources(FROM)),
            growth <= FLAT,
        );
    }
    let rounds = context.effort.pick(1, 5);
    for count in PEER_COUNTS {
        found.push(peer::per_event(context, count, rounds)?);
    }
    for count in COUNTS.into_iter().skip(1) {
        found.push(memory::of_partial(count, rounds)?);
    }
    found.push(memory::of_full(DEFAULT_SOURCES, rounds)?);
    found.push(memory::of_timed_out(DEFAULT_SOURCES, rounds)?);
    Ok(found)
}

fn timed(count: usize, senders: Senders, samples: &[f64]) -> Measurement {
    let of = |case| Measurement::new(case, SUBJECT, Unit::Nanoseconds, samples);
    match senders {
        Senders::RoundRobin => of(sources(count)).at(count as f64),
        Senders::Shuffled => of(format!("{}, shuffled each round", sources(count))),
        Senders::New => of(format!("{}, each SYN from a new source", sources(count))),
    }
}
