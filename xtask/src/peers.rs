//! The programs that knockd is measured against. Installed, they would start as services and
//! listen; so their packages are only unpacked.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{apt, workspace::Workspace};

/// jvinet's knockd with its client, fwknop's two halves, and what logs for nftables.
const PACKAGES: &[&str] = &["knockd", "fwknop-server", "fwknop-client", "ulogd2"];

/// Puts the peers, and those libraries of theirs that this machine does not have, into the
/// folder `peers` of the tools, where the bench looks for them.
pub(crate) fn provide(workspace: &Workspace) -> Result<()> {
    let folder = workspace.tools().join("peers");
    if folder.is_dir() {
        return Ok(());
    }
    // Only what is complete gets the name.
    let partial = folder.with_extension("partial");
    apt::unpack_all(PACKAGES, &partial)
        .context("knockd is measured against its peers, which this machine does not get")?;
    fs::rename(&partial, &folder).context("cannot keep the peers")
}
