//! ansible-core for the test of the role in docs/examples, from Python's registry.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    apt::{self, Provided},
    workspace::{Workspace, run},
};

/// What is installed, with the sums of all files that pip may choose from.
const REQUIREMENTS: &str = include_str!("ansible.txt");

const PYTHON: Provided = Provided {
    program: "python3",
    package: "python3",
};

/// The module `venv` of Debian's Python does nothing without this package.
const VENV: &str = "python3-venv";

/// Puts ansible-core into the folder `ansible` of the tools, where the test looks for it, unless this
/// version of everything is there.
pub(crate) fn provide(workspace: &Workspace) -> Result<()> {
    let folder = workspace.tools().join("ansible");
    let complete = folder.join("requirements.txt");
    if fs::read_to_string(&complete).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(());
    }
    println!("installing ansible-core from Python's registry");
    apt::provide(&[PYTHON])?;
    let has_venv = Command::new("python3")
        .args(["-c", "import ensurepip"])
        .output();
    if !has_venv.is_ok_and(|output| output.status.success()) {
        apt::install(&[VENV])?;
    }
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv", "--clear"]).arg(&folder))?;
    let wanted = folder.join("wanted.txt");
    fs::write(&wanted, REQUIREMENTS)?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--only-binary=:all:", "--require-hashes"]);
    run(pip.arg("--requirement").arg(&wanted))
        .context("the test of the role for Ansible needs ansible-core: fetch it and try again")?;
    // The file gets this name once everything is there.
    fs::rename(&wanted, &complete).context("cannot keep ansible-core")
}
