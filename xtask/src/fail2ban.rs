//! fail2ban for the tests of its filter. Its package is only unpacked: installed, it would start a
//! service that bans.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{
    apt::{self, Provided},
    workspace::{Workspace, is_installed},
};

const PYTHON: Provided = Provided {
    program: "python3",
    package: "python3",
};

/// Puts fail2ban into the folder `fail2ban` of the tools, where the tests look for it, unless it is
/// installed.
pub(crate) fn provide(workspace: &Workspace) -> Result<()> {
    let folder = workspace.tools().join("fail2ban");
    let program = folder.join("usr/bin/fail2ban-regex");
    if is_installed("fail2ban-regex") || program.is_file() {
        return Ok(());
    }
    apt::provide(&[PYTHON])?;
    // The folder gets its name once it is complete.
    let partial = folder.with_extension("partial");
    apt::unpack("fail2ban", &partial)
        .context("the tests of its filter need fail2ban: install it and try again")?;
    fs::rename(&partial, &folder).context("cannot keep fail2ban")
}
