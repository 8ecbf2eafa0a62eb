//! Shell scripts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    apt::{self, Provided},
    workspace::{Workspace, run},
};

const SHELLCHECK: Provided = Provided {
    program: "shellcheck",
    package: "shellcheck",
};

/// Checks every script that is shipped or that the tests run.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    apt::provide(&[SHELLCHECK])?;
    let mut scripts = Vec::new();
    for folder in [
        workspace.root.join(".ci"),
        workspace.packaging("debian"),
        workspace.packaging("firewall"),
        workspace.tests().join("src/machine"),
        workspace.guest(),
    ] {
        scripts.extend(scripts_in(&folder)?);
    }
    println!("{} scripts", scripts.len());
    run(workspace.command("shellcheck").args(scripts))
}

/// The files in `folder` that start as a script does, or name themselves one.
fn scripts_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_named = path.extension().is_some_and(|extension| extension == "sh");
        if path.is_file() && (is_named || fs::read(&path)?.starts_with(b"#!")) {
            scripts.push(path);
        }
    }
    scripts.sort();
    Ok(scripts)
}
