//! A search for code that could be wrong without a test noticing it, with cargo-mutants.
//!
//! It changes a comparison, a result or a branch, and runs the unit tests of the crate. Without paths,
//! `.cargo/mutants.toml` lists the files. The changes are made in a copy of the sources.

use anyhow::Result;
use clap::Args;

use crate::{
    setup,
    tools::install_crate,
    workspace::{Workspace, run},
};

const CARGO_MUTANTS: &str = "cargo-mutants";
const CARGO_MUTANTS_VERSION: &str = "27.1.0";

/// What is changed.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Show the changes and make none
    #[arg(long)]
    list: bool,
    /// Change these files and folders, relative to the root
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
}

/// Sets up, then tries every change. Fails if a change survives.
pub(crate) fn mutants(workspace: &Workspace, choice: &Choice) -> Result<()> {
    setup::setup(workspace, None)?;
    install_crate(workspace, CARGO_MUTANTS, CARGO_MUTANTS_VERSION, &[])?;
    let folder = workspace.target.join("mutants");
    let mut mutants = workspace.command(workspace.tools().join("bin").join(CARGO_MUTANTS));
    mutants.args(["mutants", "--workspace"]);
    mutants.arg("--output").arg(&folder);
    if choice.list {
        mutants.arg("--list");
    }
    // The tests of the crate that is changed: with those of all crates, a change would take minutes.
    mutants.args(["--all-features", "--cargo-arg=--lib"]);
    mutants.args(["--minimum-test-timeout", "60"]);
    // Text for people.
    mutants.args(["--exclude-re", "impl (fmt::)?(Debug|Display) for"]);
    if !choice.paths.is_empty() {
        // Otherwise the files in it would be added.
        mutants.arg("--no-config");
    }
    for path in &choice.paths {
        let all = if workspace.root.join(path).is_dir() {
            "/**/*.rs"
        } else {
            ""
        };
        mutants.args(["--file", &format!("{}{all}", path.trim_end_matches('/'))]);
    }
    // The copy is in another folder each time. There the same dependencies are used again.
    mutants.env("CARGO_TARGET_DIR", folder.join("target"));
    // Every change is one small build.
    mutants.env("CARGO_INCREMENTAL", "1");
    mutants.env("CARGO_PROFILE_DEV_DEBUG", "false");
    run(&mut mutants)
}
