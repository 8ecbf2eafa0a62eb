//! The programs that knockd is measured against. Their packages are only unpacked: installed, they
//! would start services.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{apt, workspace::Workspace};

/// jvinet's knockd with its client, fwknop's client and server, and a logger for nftables.
const PACKAGES: &[&str] = &["knockd", "fwknop-server", "fwknop-client", "ulogd2"];

/// Puts the peers, and the libraries of theirs that this machine does not have, into the folder
/// `peers` of the tools, where the benchmarks look for them.
pub(crate) fn provide(workspace: &Workspace) -> Result<()> {
    let folder = workspace.tools().join("peers");
    if folder.is_dir() {
        return Ok(());
    }
    // The folder gets its name once it is complete.
    let partial = folder.with_extension("partial");
    apt::unpack_all(PACKAGES, &partial)
        .context("cannot fetch the programs that knockd is measured against")?;
    fs::rename(&partial, &folder).context("cannot keep the peers")
}
