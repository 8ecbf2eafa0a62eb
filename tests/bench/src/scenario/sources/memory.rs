//! What the assembler's memory is, each time in a process of its own: one that has had more
//! before would show less.

use std::{env, fs, num::NonZeroUsize, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use knock_user::daemon::sequence::{Assembler, MAX_EVENTS};

use super::{
    SUBJECT, name,
    stream::{Order, Stream, knock},
};
use crate::record::{Measurement, Unit};

/// Of `count` sources with half a knock each.
pub(super) fn of_halves(count: usize, rounds: usize) -> Result<Measurement> {
    let (bytes, _) = measure(count, &[], rounds)?;
    Ok(Measurement::new(name(count), SUBJECT, Unit::Bytes, &bytes))
}

/// All that `limits.sources = bound` allows: every source with a full queue, when as many
/// others have gone.
pub(super) fn of_full(bound: usize, rounds: usize) -> Result<Measurement> {
    let (bytes, sources) = measure(bound, &["--full"], rounds)?;
    let case = format!("{}, every queue full (default bound)", name(bound));
    let measurement = Measurement::new(case, SUBJECT, Unit::Bytes, &bytes);
    Ok(measurement.target("bounded", sources <= bound))
}

/// What is left when `count` sources with a SYN each have timed out and one more has come.
pub(super) fn of_gone(count: usize, rounds: usize) -> Result<Measurement> {
    let (bytes, sources) = measure(count, &["--gone"], rounds)?;
    ensure!(sources == 1, "{sources} sources are left and not one");
    let case = format!("one source, when {} have timed out", name(count));
    Ok(Measurement::new(case, SUBJECT, Unit::Bytes, &bytes))
}

/// The bytes of several assemblers of the same kind, and the sources in each.
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
            "the process that grows has failed: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        let said = String::from_utf8(output.stdout)?;
        let (grown, held) = said
            .trim_end()
            .split_once(' ')
            .context("the process that grows says two numbers")?;
        bytes.push(grown.parse()?);
        sources = held.parse()?;
    }
    Ok((bytes, sources))
}

/// Fills an assembler for `count` sources, and prints the bytes by which this process has
/// grown, and the sources. `full` is [`of_full`], `gone` is [`of_gone`], else it is
/// [`of_halves`].
pub(crate) fn grow(count: usize, full: bool, gone: bool) -> Result<()> {
    let before = resident()?;
    let assembler = if full {
        filled(count)
    } else if gone {
        emptied(count)
    } else {
        Stream::new(count, Order::Turns).into_assembler()
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

/// Bytes of memory that this process has, without what it shares with files.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let anonymous = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .context("/proc/self/status has no line RssAnon")?;
    let kib: u64 = anonymous.trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}
