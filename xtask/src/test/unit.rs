//! Tests that need neither root nor a kernel of their own.

use anyhow::Result;

use crate::{
    executables::{Executable, build},
    runner::{Job, Summary},
    workspace::{COMMON, Workspace, run},
};

/// How many executables run at once. Each has as many threads as the machine has processors.
const AT_ONCE: usize = 2;

/// Runs `executables`, and the examples in the documentation of all packages.
pub(super) fn run_all(
    workspace: &Workspace,
    executables: &[Executable],
    summary: &mut Summary,
) -> Result<()> {
    let jobs = executables.iter().map(|executable| Job {
        name: executable.name(),
        command: executable.command(),
        exclusive: false,
    });
    summary.run(jobs.collect(), AT_ONCE, threads())?;
    run(&mut workspace.cargo("test --quiet --doc --workspace --all-features"))
}

/// Gives that many random blocks to the checks of the sealed protocol.
pub(super) fn run_random_blocks(
    workspace: &Workspace,
    blocks: u64,
    summary: &mut Summary,
) -> Result<()> {
    let test = format!("--release --package {COMMON} --features protocol --test random_blocks");
    let executables = build(workspace, &test)?;
    let jobs = executables.iter().map(|executable| {
        let mut command = executable.command();
        command.env("KNOCK_BLOCKS", blocks.to_string());
        command.arg("--ignored");
        Job {
            command,
            name: executable.name(),
            exclusive: false,
        }
    });
    summary.run(jobs.collect(), 1, 1)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}
