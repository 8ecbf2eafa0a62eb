//! A run of one target under libFuzzer.

use std::{
    fmt, fs,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{interrupt, workspace::FUZZ};

/// The time for one input, in seconds: each takes less than a second.
const TIMEOUT: u32 = 20;

/// Memory of the process in MiB.
const MEMORY: u32 = 2048;

/// How many lines of the log are shown after a failure, from that of the panic.
const SHOWN: usize = 8;

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Seconds(u32),
    Runs(u64),
}

/// A target with its program and its files.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) target: String,
    pub(super) program: PathBuf,
    /// The inputs to start from.
    pub(super) seeds: PathBuf,
    /// The inputs that have reached new code, in this run and in earlier ones.
    pub(super) corpus: PathBuf,
    /// The folder for an input that makes the target fail.
    pub(super) artifacts: PathBuf,
    /// What libFuzzer prints.
    pub(super) log: PathBuf,
}

/// What a run has done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) target: String,
    pub(super) executions: u64,
    per_second: u64,
    edges: u64,
}

impl Report {
    /// The head of a table of reports.
    pub(super) const HEAD: &str = "target        executions  per second   edges";

    /// Reads it in the log of libFuzzer.
    fn parse(target: &str, log: &str) -> Option<Self> {
        let after = |line: &str, key: &str| {
            let (_, rest) = line.split_once(key)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        let last = |key: &str| log.lines().rev().find_map(|line| after(line, key));
        Some(Self {
            target: target.to_owned(),
            executions: last("stat::number_of_executed_units:")?,
            per_second: last("stat::average_exec_per_sec:")?,
            edges: last(" cov: ")?,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            target,
            executions,
            per_second,
            edges,
        } = self;
        write!(f, "{target:<12}{executions:>12}{per_second:>12}{edges:>8}")
    }
}

impl Run {
    /// Runs the target until `limit`.
    ///
    /// # Errors
    ///
    /// Returns an error with the input and the way to repeat it if the target fails.
    pub(super) fn execute(&self, limit: Limit) -> Result<Report> {
        fs::create_dir_all(&self.corpus)?;
        // Only the failure of this run is of interest.
        if self.artifacts.exists() {
            fs::remove_dir_all(&self.artifacts)?;
        }
        fs::create_dir_all(&self.artifacts)?;
        let succeeded = interrupt::wait(&mut self.command(limit)?)?.status.success();
        let log = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        if !succeeded {
            bail!("{}", self.failure(&log)?);
        }
        Report::parse(&self.target, &log).with_context(|| {
            let log = self.log.display();
            format!("libFuzzer has printed no statistics to {log}")
        })
    }

    fn command(&self, limit: Limit) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(match limit {
            Limit::Seconds(seconds) => [format!("-max_total_time={seconds}")],
            Limit::Runs(runs) => [format!("-runs={runs}")],
        });
        command.arg(format!("-max_len={}", 2 * longest(&self.seeds)?));
        command.arg(format!("-timeout={TIMEOUT}"));
        command.arg(format!("-rss_limit_mb={MEMORY}"));
        command.arg(format!("-artifact_prefix={}/", self.artifacts.display()));
        command.arg("-print_final_stats=1");
        // A backtrace would be that of libFuzzer.
        command.env("RUST_BACKTRACE", "0");
        command.arg(&self.corpus).arg(&self.seeds);
        let log = File::create(&self.log)?;
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// What there is to say about a failure.
    fn failure(&self, log: &str) -> io::Result<String> {
        let Self { target, .. } = self;
        let is_cause = |line: &&str| line.contains(" panicked at ") || line.contains("ERROR: ");
        let lines = log.lines().skip_while(|line| !is_cause(line));
        let mut text = lines.take(SHOWN).collect::<Vec<_>>().join("\n");
        for artifact in fs::read_dir(&self.artifacts)? {
            let path = artifact?.path();
            let path = path.display();
            text += &format!("\n{target} fails with the input {path}. To repeat it:\n");
            text += &format!("cargo run --package {FUZZ} -- {target} {path}");
        }
        text += &format!("\n{target} has failed: see {}", self.log.display());
        Ok(text)
    }
}

/// The length of the longest file in `folder`, in bytes.
fn longest(folder: &Path) -> io::Result<u64> {
    let mut longest = 0;
    for file in fs::read_dir(folder)? {
        longest = longest.max(file?.metadata()?.len());
    }
    Ok(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statistics_of_libfuzzer_are_read() {
        let log = "#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0 rss: 41Mb\n\
            #8\tDONE   cov: 17 ft: 20 corp: 4/9b lim: 4 exec/s: 0 rss: 41Mb\n\
            Done 8 runs in 0 second(s)\n\
            stat::number_of_executed_units: 8\n\
            stat::average_exec_per_sec:     4\n";
        let report = Report::parse("lines", log).unwrap();
        assert_eq!(
            report.to_string(),
            "lines                  8           4      17"
        );
        assert_eq!(Report::parse("lines", "a panic"), None);
    }
}
