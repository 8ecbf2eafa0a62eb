//! fail2ban for the tests of its filter. Installed, it would start as a service and ban; so its
//! package is only unpacked.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    apt::{self, Provided},
    privilege::as_root,
    workspace::{Workspace, is_installed, output, run},
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
    println!("unpacking from Debian: fail2ban");
    let package = download(workspace)
        .or_else(|_| {
            run(as_root("env")?.args(["apt-get", "-qq", "update"]))?;
            download(workspace)
        })
        .context("the tests of its filter need fail2ban: install it, and call again")?;
    // Only what is complete gets the name.
    let partial = folder.with_extension("partial");
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(package)
        .arg(&partial))?;
    fs::rename(&partial, &folder).context("cannot keep fail2ban")
}

fn download(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.tools().join("fail2ban-package");
    fs::create_dir_all(&folder)?;
    output(
        Command::new("apt-get")
            .args(["-qq", "download", "fail2ban"])
            .current_dir(&folder),
    )?;
    let package = fs::read_dir(&folder)?.next();
    Ok(package.context("apt-get left no package")??.path())
}
