//! Benchmarks of knockd-xdp and its peers.
//!
//! A [`scenario`] yields [measurements](record::Measurement). A [`report`] contains those of all
//! scenarios; it is shown as [tables](table) and [plots](plot) and [published](publish).
//! `cargo xtask bench` builds everything and calls this program: `measure` as root, `publish` as the
//! calling user.

mod attack;
mod cable;
mod clock;
mod context;
mod flood;
mod lab;
mod machine;
mod meter;
mod peer;
mod plot;
mod publish;
mod record;
mod report;
mod scenario;
mod summary;
mod table;
mod xdp;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::{Parser, Subcommand};

use crate::{
    context::{Context, Effort},
    report::{Report, Section},
    scenario::{SCENARIOS, definition::Scenario},
};

/// Benchmarks of knockd-xdp and its peers; run them with `cargo xtask bench`
#[derive(Debug, Parser)]
struct Cli {
    /// The target directory with the release build and the tools
    #[arg(long, global = true, value_name = "DIR", default_value = "target")]
    target: PathBuf,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run scenarios as root and save the results in the target directory
    Measure {
        /// Fewer repetitions: all scenarios take less than three minutes
        #[arg(long)]
        quick: bool,
        /// The commit that was built
        #[arg(long, default_value = "unknown")]
        commit: String,
        /// The scenarios to run (default: all)
        #[arg(value_name = "SCENARIO", value_parser = named)]
        scenarios: Vec<&'static Scenario>,
    },
    /// Write tables and plots of the last results
    Publish,
    /// Convert ulogd2's log to lines for `knockd --lines`
    #[command(hide = true)]
    Lines { log: PathBuf, lines: PathBuf },
    /// Fill the daemon's assembler and print the growth of this process in bytes
    #[command(hide = true)]
    Grow {
        sources: usize,
        /// Fill every queue, after as many other sources have been evicted
        #[arg(long)]
        full: bool,
        /// Let all sources time out
        #[arg(long, conflicts_with = "full")]
        gone: bool,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let out = cli.target.join("bench");
    match cli.task {
        Task::Measure {
            quick,
            commit,
            scenarios,
        } => {
            ensure!(
                rustix::process::geteuid().is_root(),
                "benchmarks need root for BPF and namespaces: run `cargo xtask bench`"
            );
            let effort = if quick { Effort::Quick } else { Effort::Full };
            let context = Context::new(effort, &cli.target, &out)?;
            let report = measure(&context, commit, &scenarios);
            report.write(context.out())?;
            print!("{}", table::text(&report));
            Ok(())
        }
        Task::Publish => publish::publish(&out),
        Task::Lines { log, lines } => peer::log::convert(&log, &lines),
        Task::Grow {
            sources,
            full,
            gone,
        } => scenario::sources::grow(sources, full, gone),
    }
}

fn named(name: &str) -> Result<&'static Scenario> {
    match SCENARIOS.iter().find(|scenario| scenario.name == name) {
        Some(scenario) => Ok(scenario),
        None => {
            let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            bail!("the scenarios are: {}", names.join(", "))
        }
    }
}

/// Runs the `chosen` scenarios, or all if none is chosen. The section of a scenario that fails
/// contains the error.
fn measure(context: &Context, commit: String, chosen: &[&'static Scenario]) -> Report {
    let mut report = Report::new(context.effort, commit, chosen.is_empty());
    let all = SCENARIOS.iter();
    let scenarios: Vec<&Scenario> = if chosen.is_empty() {
        all.collect()
    } else {
        chosen.to_vec()
    };
    for scenario in scenarios {
        eprintln!("measuring {}: {}", scenario.name, scenario.title);
        let found = (scenario.run)(context);
        let section = Section::new(scenario.name, scenario.title, scenario.method, found);
        if let Some(failure) = &section.failure {
            eprintln!("{}: {failure}", scenario.name);
        }
        report.sections.push(section);
    }
    report.took_seconds = report.begun.elapsed().as_secs();
    report
}
