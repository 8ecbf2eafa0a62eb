//! Programs from Python's registry, each in an environment of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    apt::{self, Provided},
    workspace::{Workspace, output, run},
};

const PYTHON: Provided = Provided {
    program: "python3",
    package: "python3",
};

/// The module `venv` of Debian's Python does nothing without this package.
const VENV: &str = "python3-venv";

/// A version of Python: 3.11 is later than 3.9.
type Version = (u32, u32);

/// Programs that are installed together.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Their folder in the tools.
    pub(crate) name: &'static str,
    /// What they consist of, with the sums of all files that pip may choose from.
    pub(crate) requirements: &'static str,
    /// The oldest Python that they are for.
    pub(crate) since: Version,
}

/// Installs `programs`, unless this version of everything is there. Returns the folder with them.
///
/// # Errors
///
/// Returns an error if Python is missing or too old, or a file cannot be fetched.
pub(crate) fn install(workspace: &Workspace, programs: &Programs) -> Result<PathBuf> {
    let Programs {
        name, requirements, ..
    } = programs;
    let version = provide()?;
    programs.ensure_run_with(version)?;
    let folder = workspace.tools().join(name);
    let bin = folder.join("bin");
    let complete = folder.join("requirements.txt");
    let (major, minor) = version;
    let is_for_version = folder.join(format!("lib/python{major}.{minor}")).is_dir();
    if is_for_version
        && fs::read_to_string(&complete).is_ok_and(|installed| installed == *requirements)
    {
        return Ok(bin);
    }
    println!("installing {name} from Python's registry");
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv", "--clear"]).arg(&folder))?;
    let wanted = folder.join("wanted.txt");
    fs::write(&wanted, requirements)?;
    run(&mut pip(&bin, &wanted)).with_context(|| format!("cannot install {name}"))?;
    // The file gets this name once everything is there.
    fs::rename(&wanted, &complete).with_context(|| format!("cannot keep {name}"))?;
    Ok(bin)
}

/// Makes sure that this machine has Python, with its module `venv`. Returns its version.
fn provide() -> Result<Version> {
    apt::provide(&[PYTHON])?;
    let mut has_venv = Command::new("python3");
    if output(has_venv.args(["-c", "import ensurepip"])).is_err() {
        apt::install(&[VENV])?;
    }
    let mut version = Command::new("python3");
    version.args(["-c", "import sys; print(*sys.version_info[:2])"]);
    parse(&output(&mut version)?).context("python3 does not name its version")
}

/// Parses `3 11`.
fn parse(version: &str) -> Option<Version> {
    let (major, minor) = version.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

impl Programs {
    fn ensure_run_with(&self, found: Version) -> Result<()> {
        let [found_name, since_name] =
            [found, self.since].map(|(major, minor)| format!("{major}.{minor}"));
        ensure!(
            found >= self.since,
            "{} needs Python {since_name} or later, and python3 is {found_name}: put such a one first in PATH",
            self.name
        );
        Ok(())
    }
}

fn pip(bin: &Path, requirements: &Path) -> Command {
    let mut pip = Command::new(bin.join("pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--only-binary=:all:", "--require-hashes"]);
    pip.arg("--requirement").arg(requirements);
    pip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_that_is_too_old_is_named() {
        let programs = Programs {
            name: "tool",
            requirements: "",
            since: (3, 11),
        };
        let run_with = |printed| programs.ensure_run_with(parse(printed).unwrap());
        assert!(run_with("3 11\n").is_ok());
        assert!(run_with("4 0\n").is_ok());
        assert_eq!(
            run_with("3 9\n").unwrap_err().to_string(),
            "tool needs Python 3.11 or later, and python3 is 3.9: put such a one first in PATH"
        );
    }

    #[test]
    fn what_is_not_a_version_is_none() {
        for printed in ["", "3", "3 x", "3 11 4"] {
            assert_eq!(parse(printed), None, "{printed}");
        }
    }
}
