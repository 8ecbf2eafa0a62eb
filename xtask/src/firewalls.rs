//! Firewalls for the tests of docs/howto. Their packages are only unpacked: installed, they would
//! close this machine.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{apt, workspace::Workspace};

const PACKAGES: &[&str] = &[
    "ufw",
    "firewalld",
    "ipset",
    "crowdsec",
    "crowdsec-firewall-bouncer",
];

/// Puts the firewalls, and those of their dependencies that this machine does not have, into the
/// folder `firewalls` of the tools, where the tests look for them.
pub(crate) fn provide(workspace: &Workspace) -> Result<()> {
    let folder = workspace.tools().join("firewalls");
    if folder.is_dir() {
        return Ok(());
    }
    // The folder gets its name once it is complete.
    let partial = folder.with_extension("partial");
    apt::unpack_all(PACKAGES, &partial)
        .context("the tests of docs/howto need these firewalls: fetch them and try again")?;
    fs::rename(&partial, &folder).context("cannot keep the firewalls")
}
