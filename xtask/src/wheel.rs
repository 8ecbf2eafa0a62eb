//! The wheel for Python, made by maturin.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::{
    ci,
    python::{self, Programs},
    workspace::{Workspace, run},
};

/// What the name of its test begins with.
pub(crate) const TESTS: &str = "a_program_in_python";

/// For the Python that the wheel is for.
const MATURIN: Programs = Programs {
    name: "maturin",
    requirements: include_str!("maturin.txt"),
    since: (3, 9),
};

/// Builds the wheel, and prints where it is.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let maturin = python::install(workspace, &MATURIN)?;
    println!("{}", make(workspace, &maturin)?.display());
    Ok(())
}

/// Builds the wheel for its test. Returns whether it is there.
///
/// # Errors
///
/// Returns an error if it cannot be built, or if maturin cannot be installed and `CI` is set in the
/// environment.
pub(crate) fn provide(workspace: &Workspace) -> Result<bool> {
    let maturin = python::install(workspace, &MATURIN);
    match ci::or_skip("the wheel for Python", maturin)? {
        Some(maturin) => make(workspace, &maturin).map(|_| true),
        None => Ok(false),
    }
}

/// Builds the wheel with the profile for development in the folder `wheels` of the target directory,
/// which has no other file then. The folder `programs` has maturin.
fn make(workspace: &Workspace, programs: &Path) -> Result<PathBuf> {
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
