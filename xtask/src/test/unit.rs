//! Tests that need neither root nor a kernel of their own.

use anyhow::Result;

use crate::{
    executables::build,
    runner::{Job, Summary},
    workspace::{BENCH, COMMON, TESTS, Workspace, run},
};

/// How many executables run at once. Each has as many threads as the machine has processors.
const AT_ONCE: usize = 2;

/// Runs the unit tests of all packages, and the examples in their documentation.
pub(super) fn run_all(workspace: &Workspace, summary: &mut Summary) -> Result<()> {
    let packages = format!("--workspace --exclude {TESTS} --exclude {BENCH} --all-features");
    let jobs = build(workspace, &packages)?
        .into_iter()
        .map(|executable| Job {
            command: executable.command(),
            name: executable.name,
            exclusive: false,
        });
    summary.run(jobs.collect(), AT_ONCE, threads())?;
    run(&mut workspace.cargo(&format!("test --quiet --doc {packages}")))
}

/// Gives that many random blocks to the checks of the sealed protocol.
pub(super) fn run_random_blocks(
    workspace: &Workspace,
    blocks: u64,
    summary: &mut Summary,
) -> Result<()> {
    let test = format!("--release --package {COMMON} --features protocol --test random_blocks");
    let jobs = build(workspace, &test)?.into_iter().map(|executable| {
        let mut command = executable.command();
        command.env("KNOCK_BLOCKS", blocks.to_string());
        command.arg("--ignored");
        Job {
            command,
            name: executable.name,
            exclusive: false,
        }
    });
    summary.run(jobs.collect(), 1, 1)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}
