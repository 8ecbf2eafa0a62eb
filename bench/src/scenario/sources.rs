//! Many knocks in progress at once.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use knock_user::daemon::{
    knock::Knock,
    sequence::{Assembler, MAX_EVENTS},
};

use super::{Context, Scenario};
use crate::{
    plot::Plot,
    record::{Measurement, Subject, Unit, interleave},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "sources",
    title: "Knocks in progress",
    method: "The daemon's assembler with so many sources, each with half a knock: every SYN is of \
             another source than the one before, and so late that the oldest of its own source \
             has just timed out. `limits.sources` is raised for a million. Memory is what the \
             process grows by.",
    run,
    plot: Some(Plot::Lines {
        unit: Unit::Nanoseconds,
        x: "sources with half a knock",
    }),
};

const SUBJECT: &str = "knockd";

/// SYNs of a source that wait for the others of its knock.
const HALF: usize = 8;

/// From here on the cost of a SYN must not grow by more than [`FLAT`].
const FROM: usize = 1000;
const FLAT: f64 = 1.5;

/// `limits.sources` where nothing is configured.
const DEFAULT_SOURCES: usize = 65_536;

fn run(context: &Context) -> Result<Vec<Measurement>> {
    let counts = [1, FROM, 1_000_000];
    // Kept to the end: memory that is given back would be taken for none.
    let (_full, full) = full()?;
    let mut memory = Vec::new();
    let mut streams = Vec::new();
    for count in counts {
        let (stream, bytes) = grown(|| Stream::new(count))?;
        streams.push(stream);
        memory.push(Measurement::new(name(count), SUBJECT, Unit::Bytes, &[bytes]).at(count as f64));
    }
    let pushes = context.effort.pick(50_000, 500_000);
    let mut subjects: Vec<Subject<'_>> = streams
        .iter_mut()
        .map(|stream| -> Subject<'_> { Box::new(|| stream.per_event(pushes)) })
        .collect();
    let samples = interleave(context.effort.pick(7, 21), &mut subjects)?;
    let mut found: Vec<_> = counts
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
            .target(format!("≤ {FLAT} × that of {FROM}"), growth <= FLAT);
    }
    found.extend(memory);
    found.push(full);
    Ok(found)
}

fn name(count: usize) -> String {
    match count {
        1 => "one source".to_owned(),
        _ => format!("{count} sources"),
    }
}

/// All that the default bound allows: every source with a full queue, and then as many others.
fn full() -> Result<(Assembler, Measurement)> {
    let bound = NonZeroUsize::new(DEFAULT_SOURCES).context("it is above zero")?;
    let (assembler, bytes) = grown(|| {
        let mut assembler = Assembler::new(Duration::MAX / 2, bound);
        for place in 0..2 * DEFAULT_SOURCES * MAX_EVENTS {
            // Twice as many sources as there may be, one after the other.
            assembler.push(&knock(place / MAX_EVENTS, place, Duration::ZERO));
        }
        assembler
    })?;
    ensure!(
        assembler.evicted() == DEFAULT_SOURCES as u64,
        "as many sources as there may be have to go, not {}",
        assembler.evicted()
    );
    let bounded = assembler.sources() <= DEFAULT_SOURCES;
    let case = format!("{DEFAULT_SOURCES} sources (default bound), every queue full");
    let memory = Measurement::new(case, SUBJECT, Unit::Bytes, &[bytes]);
    Ok((assembler, memory.target("bounded", bounded)))
}

/// A steady stream of SYNs, in which every source always has half a knock on the queue.
struct Stream {
    assembler: Assembler,
    /// The sources in the order in which they send; again and again.
    order: Vec<usize>,
    sent: usize,
}

/// Between two SYNs of the stream.
const INTERVAL: Duration = Duration::from_micros(1);

impl Stream {
    fn new(count: usize) -> Self {
        let mut order: Vec<_> = (0..count).collect();
        // Always the same, so that two runs measure the same.
        fastrand::Rng::with_seed(1).shuffle(&mut order);
        // What a source has sent that many rounds ago is forgotten.
        let timeout = INTERVAL.saturating_mul(u32::try_from(HALF * count).unwrap_or(u32::MAX));
        let bound = NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        let mut stream = Self {
            assembler: Assembler::new(timeout, bound),
            order,
            sent: 0,
        };
        for _ in 0..HALF * count {
            stream.push();
        }
        stream
    }

    fn push(&mut self) -> bool {
        let source = self.order[self.sent % self.order.len()];
        let at = INTERVAL.saturating_mul(u32::try_from(self.sent).unwrap_or(u32::MAX));
        let round = self.sent / self.order.len();
        self.sent += 1;
        let candidates = self.assembler.push(&knock(source, round, at));
        candidates.is_some_and(|candidates| candidates.blocks.is_empty())
    }

    /// Nanoseconds for each of `pushes` SYNs.
    fn per_event(&mut self, pushes: u32) -> Result<f64> {
        let begun = Instant::now();
        let mut as_meant = true;
        for _ in 0..pushes {
            as_meant &= self.push();
        }
        let spent = begun.elapsed();
        ensure!(
            as_meant && self.assembler.sources() == self.order.len(),
            "a SYN was not one of half a knock"
        );
        Ok(spent.as_secs_f64() * 1e9 / f64::from(pushes))
    }
}

/// The SYN number `number` of `source`.
fn knock(source: usize, number: usize, at: Duration) -> Knock {
    let address = u32::try_from(source).unwrap_or(u32::MAX);
    // No two in a row, which would be tried as a knock.
    let [low, high, ..] = (number * 3).to_le_bytes();
    Knock {
        source: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | address)),
        source_port: Some(u16::from_le_bytes([low, high])),
        offset: low,
        at,
    }
}

/// What `make` makes, and the bytes by which the process has grown meanwhile.
fn grown<T>(make: impl FnOnce() -> T) -> Result<(T, f64)> {
    let before = resident()?;
    let made = make();
    Ok((made, resident()? - before))
}

/// Bytes of memory that this process has, without what it shares with files.
fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let anonymous = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .context("/proc/self/status has no line RssAnon")?;
    let kib: f64 = anonymous.trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}
