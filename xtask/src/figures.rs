//! Tests that print a table of figures, and that nothing else runs.

use anyhow::{Context as _, Result};

use crate::{
    executables::build_all,
    privilege::as_root,
    workspace::{Workspace, run},
};

/// Builds everything, and runs `figures::the_table` of the tests `target`.
///
/// # Errors
///
/// Returns an error if the build or the test fails, or if there are no such tests.
pub(crate) fn print(workspace: &Workspace, target: &str) -> Result<()> {
    let executables = build_all(workspace)?;
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
