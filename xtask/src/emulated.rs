//! The unit tests on processors that this machine does not have, in an emulator of them.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    apt::{self, Provided},
    executables::{Executable, build_for},
    runner::{Job, Summary},
    targets::{Kind, Target},
    workspace::Workspace,
};

/// The processors.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Only for this one
    #[arg(value_parser = Target::debian, value_name = "TRIPLE")]
    target: Option<Target>,
}

/// What runs on the computers of users: not the project's tools, nor tests that need a kernel.
const SELECTION: &str = "--workspace --exclude xtask --exclude knock-tests --exclude knock-bench \
                         --exclude knock-fuzz --exclude knock-python --lib --bins --tests --all-features";

/// How many test executables run at once, and with how many threads each. Some tests measure time.
const AT_ONCE: usize = 1;
const THREADS: usize = 2;

/// What the emulator does not do, with the tests that need it. Each runs on the processor of this machine
/// in `cargo xtask test`.
const BEYOND: &[&str] = &[];

/// Runs the unit tests for the chosen target, or for all of Debian but that of this machine.
pub(crate) fn test(workspace: &Workspace, choice: &Choice) -> Result<()> {
    let targets = match choice.target {
        Some(target) => vec![target],
        None => Target::all_foreign(Kind::Debian).collect(),
    };
    let mut summary = Summary::default();
    let outcome = targets
        .into_iter()
        .try_for_each(|target| run(workspace, target, &mut summary));
    summary.print();
    println!("{} passed, {} failed", summary.passed, summary.failed);
    outcome
}

fn run(workspace: &Workspace, target: Target, summary: &mut Summary) -> Result<()> {
    ensure!(
        !target.is_host(),
        "{} is this machine: `cargo xtask test` runs its tests",
        target.triple()
    );
    target.provide()?;
    apt::provide(&[emulator(target)])?;
    let executables = build_for(workspace, SELECTION, Some(target))?;
    let jobs = executables.iter().map(|executable| Job {
        name: format!("{}: {}", target.arch(), executable.name()),
        command: command(target, executable),
        exclusive: false,
    });
    summary.run(jobs.collect(), AT_ONCE, THREADS)
}

fn emulator(target: Target) -> Provided {
    let program = match target.arch() {
        "aarch64" => "qemu-aarch64-static",
        "armv7" => "qemu-arm-static",
        _ => "qemu-x86_64-static",
    };
    Provided {
        program,
        package: "qemu-user-static",
    }
}

fn command(target: Target, executable: &Executable) -> Command {
    let mut command = Command::new(emulator(target).program);
    command.arg("-L").arg(target.root());
    command
        .arg(&executable.path)
        .current_dir(&executable.folder)
        .env("RUSTC_BOOTSTRAP", "1");
    for test in BEYOND {
        command.args(["--skip", test]);
    }
    command
}
