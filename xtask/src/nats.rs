//! The server of NATS for the tests of a fleet, from Python's registry: Debian's is too old.

use anyhow::{Context as _, Result};

use crate::{ansible, workspace::Workspace};

/// What is installed, with the sums of all files that pip may choose from.
const REQUIREMENTS: &str = include_str!("nats.txt");

/// Puts nats-server into the folder `nats` of the tools, where the tests look for it, unless this
/// version is there.
pub(crate) fn provide(workspace: &Workspace) -> Result<()> {
    ansible::install(workspace, "nats", REQUIREMENTS)
        .context("the tests of a fleet need nats-server: fetch it and try again")
}
