//! What knockd costs, compared with its peers: built as the caller, measured as root.

use anyhow::Result;
use clap::Args;

use crate::{
    peers,
    privilege::as_root,
    setup,
    workspace::{BENCH, PROGRAMS, Workspace, output, run},
};

/// How much is measured.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Repeat less: takes less than three minutes, and publishes nothing
    #[arg(long)]
    quick: bool,
    /// Measure only these scenarios, and publish nothing
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
}

/// Sets up, fetches the peers, builds and measures; then writes tables and plots.
pub(crate) fn bench(workspace: &Workspace, choice: &Choice) -> Result<()> {
    setup::setup(workspace, None)?;
    peers::provide(workspace)?;
    println!("building with optimisation: this takes some minutes, once");
    run(&mut workspace.cargo(&format!(
        "build --quiet --release --package {PROGRAMS} --package {BENCH}"
    )))?;
    let bench = workspace.target.join("release").join(BENCH);
    let mut measure = as_root(&bench)?;
    measure.arg("--target").arg(&workspace.target);
    measure.args(["measure", "--commit", &commit(workspace)]);
    if choice.quick {
        measure.arg("--quick");
    }
    measure.args(&choice.scenarios);
    run(&mut measure)?;
    let mut publish = workspace.command(&bench);
    publish
        .arg("--target")
        .arg(&workspace.target)
        .arg("publish");
    run(&mut publish)
}

/// The commit that is built, marked if the work tree differs from it.
fn commit(workspace: &Workspace) -> String {
    let mut git = workspace.command("git");
    git.args(["describe", "--always", "--dirty", "--exclude=*"]);
    // Sources from an archive have no commit.
    output(&mut git).map_or_else(|_| "unknown".to_owned(), |commit| commit.trim().to_owned())
}
