//! ansible-core for the test of the role in docs/examples, from Python's registry.

use anyhow::{Context as _, Result};

use crate::{python, workspace::Workspace};

/// What is installed, with the sums of all files that pip may choose from.
const REQUIREMENTS: &str = include_str!("ansible.txt");

/// Puts ansible-core into the folder `ansible` of the tools, where the test looks for it.
pub(crate) fn provide(workspace: &Workspace) -> Result<()> {
    python::install(workspace, "ansible", REQUIREMENTS)
        .context("the test of the role for Ansible needs ansible-core: fetch it and try again")?;
    Ok(())
}
