//! Programs from Python's registry, each in an environment of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    apt::{self, Provided},
    workspace::{Workspace, run},
};

const PYTHON: Provided = Provided {
    program: "python3",
    package: "python3",
};

/// The module `venv` of Debian's Python does nothing without this package.
const VENV: &str = "python3-venv";

/// Makes sure that this machine has Python, with its module `venv`.
pub(crate) fn provide() -> Result<()> {
    apt::provide(&[PYTHON])?;
    let has_venv = Command::new("python3")
        .args(["-c", "import ensurepip"])
        .output();
    match has_venv.is_ok_and(|output| output.status.success()) {
        true => Ok(()),
        false => apt::install(&[VENV]),
    }
}

/// Puts `requirements`, which have the sums of all files that pip may choose from, into the folder
/// `name` of the tools, unless this version of everything is there. Returns the folder of the programs.
pub(crate) fn install(workspace: &Workspace, name: &str, requirements: &str) -> Result<PathBuf> {
    let folder = workspace.tools().join(name);
    let programs = folder.join("bin");
    let complete = folder.join("requirements.txt");
    if fs::read_to_string(&complete).is_ok_and(|installed| installed == requirements) {
        return Ok(programs);
    }
    println!("installing {name} from Python's registry");
    provide()?;
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv", "--clear"]).arg(&folder))?;
    let wanted = folder.join("wanted.txt");
    fs::write(&wanted, requirements)?;
    run(&mut pip(&programs, &wanted)).with_context(|| format!("cannot install {name}"))?;
    // The file gets this name once everything is there.
    fs::rename(&wanted, &complete).with_context(|| format!("cannot keep {name}"))?;
    Ok(programs)
}

fn pip(programs: &Path, requirements: &Path) -> Command {
    let mut pip = Command::new(programs.join("pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--only-binary=:all:", "--require-hashes"]);
    pip.arg("--requirement").arg(requirements);
    pip
}
