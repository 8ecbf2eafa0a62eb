//! How many knocks of real browsers open a door.

use anyhow::{Context as _, Result};

use crate::{
    apt::{self, Provided},
    executables::build_all,
    privilege::as_root,
    setup,
    workspace::{Workspace, run},
};

/// The browsers that the page is tested with.
const BROWSERS: &[Provided] = &[
    Provided {
        program: "chromium",
        package: "chromium",
    },
    Provided {
        program: "firefox-esr",
        package: "firefox-esr",
    },
];

/// The tests of the page.
const TARGET: &str = "browsers";

/// Installs the browsers that are missing.
pub(crate) fn provide() -> Result<()> {
    apt::provide(BROWSERS)
}

/// Knocks a hundred times in each way, and prints the table that docs/howto/browser.md has.
pub(crate) fn measure(workspace: &Workspace) -> Result<()> {
    setup::setup(workspace, None)?;
    provide()?;
    let executables = build_all(workspace)?;
    let mut tests = executables.iter();
    let tests = tests.find(|executable| executable.target == TARGET);
    let tests = tests.context("there are no tests with browsers")?;
    let mut command = as_root("env")?;
    command
        .arg("CI=1")
        .arg(&tests.path)
        .args(["--ignored", "--nocapture", "--exact", "figures::the_table"])
        .current_dir(&tests.folder);
    run(&mut command)
}
