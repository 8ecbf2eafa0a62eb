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

/// What runs on the computers of users: not the project's tools.
const SELECTION: &str = "--workspace --exclude xtask --exclude knock-tests --exclude knock-bench \
                         --exclude knock-bench-ebpf --exclude knock-fuzz --exclude knock-python \
                         --tests --all-features";

/// How many test executables run at once, and with how many threads each. Some tests measure time.
const AT_ONCE: usize = 1;
const THREADS: usize = 2;

/// What is left out. It runs on the processor of this machine in `cargo xtask test`.
const BEYOND: &[&str] = &[
    // It tries orders of memory accesses by itself, which takes hours in an emulator.
    "source::ring::model",
    // A child process reports through shared memory (vfork) that a program cannot be started. In the
    // emulator it has a copy of the memory.
    "a_command_that_does_not_exist_is_an_error",
    "success_failure_and_absence_are_distinguished",
    // The emulator knows neither seccomp nor Landlock: `cargo xtask vm 6.1-arm64` has a kernel that does.
    "sandbox::tests",
    // Nor does it know the ioctl that asks for the features of a network card.
    "the_loopback_interface_has_no_lro_and_no_channels",
];

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
    // The others start programs, which only the kernel could run in the emulator (binfmt_misc).
    let unit = executables.iter().filter(|one| !one.is_integration);
    let jobs = unit.map(|executable| Job {
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
