//! The wheel for Python, made by maturin.

use std::{fs, path::PathBuf};

use anyhow::{Result, bail};

use crate::{
    python,
    workspace::{Workspace, run},
};

/// What makes it, with the sums of all files that pip may choose from.
const REQUIREMENTS: &str = include_str!("maturin.txt");

/// Builds the wheel with the profile for development, and prints where it is.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    println!("{}", make(workspace)?.display());
    Ok(())
}

/// Builds the wheel in the folder `wheels` of the target directory, which has no other file then.
pub(crate) fn make(workspace: &Workspace) -> Result<PathBuf> {
    let programs = python::install(workspace, "maturin", REQUIREMENTS)?;
    let folder = workspace.target.join("wheels");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut maturin = workspace.command(programs.join("maturin"));
    maturin.args(["build", "--quiet", "--locked", "--profile", "dev"]);
    maturin.arg("--manifest-path").arg(workspace.python());
    // Without a check of the C library's version: the wheel is for this machine.
    maturin.args(["--compatibility", "linux", "--interpreter"]);
    run(maturin
        .arg(programs.join("python"))
        .arg("--out")
        .arg(&folder))?;
    let files = fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    match &files[..] {
        [wheel] => Ok(wheel.path()),
        _ => bail!("maturin did not leave one wheel in {}", folder.display()),
    }
}
