//! What knockd costs, beside its peers.
//!
//! A [`scenario`] yields [measurements](record::Measurement); together they are a
//! [`report`], which is drawn as [tables](table) and [plots](plot) and
//! [published](publish). `cargo xtask bench` builds everything and calls this: `measure` as
//! root, `publish` as whoever called.

mod attack;
mod cable;
mod clock;
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
mod table;
mod xdp;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::{Parser, Subcommand};

use crate::{
    report::{Report, Section},
    scenario::{Context, Effort, SCENARIOS, Scenario},
};

/// What knockd costs, beside its peers; called by `cargo xtask bench`
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
    /// Run scenarios, as root, and keep what was measured in the target directory
    Measure {
        /// Fewer repetitions: all of it takes less than three minutes
        #[arg(long)]
        quick: bool,
        /// The commit that was built
        #[arg(long, default_value = "unknown")]
        commit: String,
        /// These alone
        #[arg(value_name = "SCENARIO", value_parser = named)]
        scenarios: Vec<&'static Scenario>,
    },
    /// Write tables and plots of what was measured last
    Publish,
    /// Turn ulogd2's log into lines for `knockd --lines`
    #[command(hide = true)]
    Lines { log: PathBuf, lines: PathBuf },
    /// Fill the daemon's assembler and print by how many bytes this process has grown
    #[command(hide = true)]
    Grow {
        sources: usize,
        /// With full queues, and after as many others
        #[arg(long)]
        full: bool,
        /// After all of them have timed out
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
                "measuring needs root, for BPF and namespaces: call `cargo xtask bench`"
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
            bail!("there are: {}", names.join(", "))
        }
    }
}

/// Runs `chosen`, or every scenario if none is. One that fails is a section that says so.
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
        let section = Section::new(scenario, (scenario.run)(context));
        if let Some(failure) = &section.failure {
            eprintln!("{}: {failure}", scenario.name);
        }
        report.sections.push(section);
    }
    report.took_seconds = report.begun.elapsed().as_secs();
    report
}
