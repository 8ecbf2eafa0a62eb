//! The browsers that the page of the client is tested with, and how many of their knocks open a door.

use anyhow::Result;
use knock_tests::browser::Browser;

use crate::{apt, ci, figures, setup, workspace::Workspace};

/// The tests of the page.
pub(crate) const TARGET: &str = "browsers";

/// Installs the browsers that are missing. Returns whether they are there.
///
/// # Errors
///
/// Returns an error if they cannot be installed and `CI` is set in the environment.
pub(crate) fn provide() -> Result<bool> {
    Ok(ci::or_skip("the page in browsers", install())?.is_some())
}

fn install() -> Result<()> {
    let missing = Browser::ALL
        .iter()
        .filter(|browser| browser.program().is_none());
    let packages: Vec<_> = missing
        .flat_map(|browser| browser.packages())
        .copied()
        .collect();
    apt::install(&packages)
}

/// Knocks a hundred times in each way, and prints the table that docs/howto/browser.md has.
pub(crate) fn measure(workspace: &Workspace) -> Result<()> {
    setup::setup(workspace, None)?;
    install()?;
    figures::print(workspace, TARGET)
}
