//! What knockd costs, beside its peers: built as whoever calls, measured as root.

use anyhow::Result;
use clap::Args;

use crate::{
    peers,
    privilege::as_root,
    setup,
    workspace::{Workspace, output, run},
};

/// How much is measured.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Fewer repetitions: less than three minutes, and nothing is published
    #[arg(long)]
    quick: bool,
    /// These alone, and nothing is published; without any, all
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
}

/// Sets up, provides the peers, builds and measures; then writes tables and plots.
pub(crate) fn bench(workspace: &Workspace, choice: &Choice) -> Result<()> {
    setup::setup(workspace, None)?;
    peers::provide(workspace)?;
    println!("building with optimisation: this takes some minutes, once");
    run(&mut workspace.cargo("build --quiet --release --package knock-user --package knock-bench"))?;
    let bench = workspace.target.join("release").join("knock-bench");
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

/// The commit that is built, with a sign behind it if the sources are not those of it.
fn commit(workspace: &Workspace) -> String {
    let mut git = workspace.command("git");
    git.args(["describe", "--always", "--dirty", "--exclude=*"]);
    // Sources that were unpacked from an archive have none.
    output(&mut git).map_or_else(|_| "unknown".to_owned(), |commit| commit.trim().to_owned())
}
