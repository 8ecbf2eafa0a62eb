//! Tests that print a table of figures, and that nothing else runs.

use anyhow::{Context as _, Result};

use crate::{
    executables::build,
    privilege::as_root,
    workspace::{PROGRAMS, TESTS, Workspace, run},
};

/// Builds the programs as they are released, and runs `figures::the_table` of the tests `target`.
///
/// # Errors
///
/// Returns an error if the build or the test fails, or if there are no such tests.
pub(crate) fn print(workspace: &Workspace, target: &str) -> Result<()> {
    println!("building with optimisation: this takes some minutes, once");
    let arguments = format!(
        "--release --package {PROGRAMS} --bin knock --bin knockd --package {TESTS} --test {target}"
    );
    let executables = build(workspace, &arguments)?;
    let mut tests = executables.iter();
    let tests = tests.find(|executable| executable.target == target);
    let tests = tests.with_context(|| format!("there are no tests {target}"))?;
    let mut command = as_root("env")?;
    command
        .arg("CI=1")
        .arg(&tests.path)
        .args(["--ignored", "--nocapture", "--exact", "figures::the_table"])
        .current_dir(&tests.folder);
    run(&mut command)
}
