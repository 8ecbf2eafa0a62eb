//! The memory of the assembler. Each sample is measured in a new process, because memory that a
//! process has freed before would hide growth.

use std::{env, fs, num::NonZeroUsize, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use knockd_listener::assembler::{Assembler, MAX_EVENTS};

use super::{
    label::{self, SUBJECT},
    stream::{Senders, Stream, knock},
};
use crate::record::{Measurement, Unit};

/// `count` sources with a partial knock each.
pub(super) fn of_partial(count: usize, rounds: usize) -> Result<Measurement> {
    let (bytes, _) = measure(count, &[], rounds)?;
    let case = label::sources(count);
    Ok(Measurement::new(case, SUBJECT, Unit::Bytes, &bytes))
}

/// The maximum with `limits.sources = bound`: every source has a full queue, after the same number
/// of other sources has been evicted.
pub(super) fn of_full(bound: usize, rounds: usize) -> Result<Measurement> {
    let (bytes, sources) = measure(bound, &["--full"], rounds)?;
    let case = format!("{}, all queues full (default limit)", label::sources(bound));
    let measurement = Measurement::new(case, SUBJECT, Unit::Bytes, &bytes);
    Ok(measurement.target("bounded", sources <= bound))
}

/// One source, after `count` sources with one SYN each have timed out.
pub(super) fn of_timed_out(count: usize, rounds: usize) -> Result<Measurement> {
    let (bytes, sources) = measure(count, &["--gone"], rounds)?;
    ensure!(sources == 1, "{sources} sources are left instead of one");
    let case = format!("one source, after {} timed out", label::sources(count));
    Ok(Measurement::new(case, SUBJECT, Unit::Bytes, &bytes))
}

/// Memory in bytes per round, and the number of sources in the assembler.
fn measure(count: usize, kind: &[&str], rounds: usize) -> Result<(Vec<f64>, usize)> {
    let mut bytes = Vec::new();
    let mut sources = 0;
    for _ in 0..rounds {
        let mut grow = Command::new(env::current_exe()?);
        let output = grow
            .args(["grow", &count.to_string()])
            .args(kind)
            .output()?;
        ensure!(
            output.status.success(),
            "the measured process failed: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        let output = String::from_utf8(output.stdout)?;
        let (grown, held) = output
            .trim_end()
            .split_once(' ')
            .context("the measured process does not print two numbers")?;
        bytes.push(grown.parse()?);
        sources = held.parse()?;
    }
    Ok((bytes, sources))
}

/// Fills an assembler for `count` sources, and prints the growth of this process in bytes and the
/// number of sources. `full` is for [`of_full`], `gone` for [`of_timed_out`]; neither is for
/// [`of_partial`].
pub(crate) fn grow(count: usize, full: bool, gone: bool) -> Result<()> {
    let before = resident()?;
    let assembler = if full {
        filled(count)
    } else if gone {
        emptied(count)
    } else {
        Stream::new(count, Senders::RoundRobin).into_assembler()
    };
    println!("{} {}", resident()? - before, assembler.sources());
    Ok(())
}

fn filled(bound: usize) -> Assembler {
    let limit = NonZeroUsize::new(bound).unwrap_or(NonZeroUsize::MIN);
    let mut assembler = Assembler::new(Duration::MAX / 2, limit);
    for place in 0..2 * bound * MAX_EVENTS {
        assembler.push(&knock(place / MAX_EVENTS, place, Duration::ZERO));
    }
    assembler
}

fn emptied(count: usize) -> Assembler {
    let bound = NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
    let mut assembler = Assembler::new(Duration::from_secs(1), bound);
    for source in 0..count {
        assembler.push(&knock(source, 0, Duration::ZERO));
    }
    assembler.push(&knock(count, 0, Duration::from_secs(2)));
    assembler
}

/// Anonymous resident memory of this process in bytes.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let anonymous = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .context("/proc/self/status has no line RssAnon")?;
    let kib: u64 = anonymous.trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}
