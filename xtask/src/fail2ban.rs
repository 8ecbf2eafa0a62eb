//! fail2ban for the tests of its filter. Installed, it would start as a service and ban; so its
//! package is only unpacked.

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

/// Puts fail2ban's programs into the folder `fail2ban` of the tools, where the tests look for
/// it, unless the machine has them.
pub(crate) fn provide(workspace: &Workspace) -> Result<()> {
    let folder = workspace.tools().join("fail2ban");
    let program = folder.join("usr/bin/fail2ban-regex");
    if is_installed("fail2ban-regex") || program.is_file() {
        return Ok(());
    }
    apt::provide(&[PYTHON])?;
    // Only what is complete gets the name.
    let partial = folder.with_extension("partial");
    apt::unpack("fail2ban", &partial)
        .context("the tests of its filter need fail2ban: install it, and call again")?;
    fs::rename(&partial, &folder).context("cannot keep fail2ban")
}
