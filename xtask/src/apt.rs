//! Debian packages, where something is missing.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{
    privilege::as_root,
    workspace::{is_installed, run},
};

/// A program and the Debian package that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provided {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// Installs the packages of those programs that are not there.
pub(crate) fn provide(programs: &[Provided]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|provided| !is_installed(provided.program))
        .map(|provided| provided.package)
        .collect();
    install(&missing)
}

/// Installs `packages`.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !is_installed("apt-get") {
        bail!("this needs what Debian has in its packages {list}: install it, and call again");
    }
    println!("installing from Debian: {list}");
    let apt = || -> Result<Command> {
        let mut apt = as_root("env")?;
        apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]);
        // Somebody else's upgrade may be under way.
        apt.args(["-o", "DPkg::Lock::Timeout=300"]);
        Ok(apt)
    };
    run(apt()?.arg("update")).context("apt's lists cannot be renewed")?;
    run(apt()?
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages))
    .with_context(|| format!("cannot install {list}"))
}
