//! What all files of a release have in common.

use anyhow::{Context as _, Result};

use crate::{
    reproducible,
    workspace::{PROGRAMS, Workspace},
};

/// The time and the version of what is released.
#[derive(Debug)]
pub(super) struct Edition {
    pub(super) version: String,
    /// The modification time of every file in an archive, in Unix seconds.
    pub(super) epoch: String,
}

impl Edition {
    /// That of the sources in `workspace`.
    pub(super) fn of(workspace: &Workspace) -> Result<Self> {
        let metadata = workspace.metadata()?;
        let mut packages = metadata.packages.iter();
        let programs = packages.find(|package| package.name.as_str() == PROGRAMS);
        let version = &programs
            .context("cargo does not list the programs")?
            .version;
        Ok(Self {
            version: version.to_string(),
            epoch: reproducible::epoch(workspace)?,
        })
    }
}
