//! Shell scripts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Result;
use tempfile::tempdir;

use crate::{
    apt::{self, Provided},
    release,
    workspace::{Workspace, run},
};

const SHELLCHECK: Provided = Provided {
    program: "shellcheck",
    package: "shellcheck",
};

/// The scripts among the files for other package managers.
const MANIFESTS: &[(&str, &[&str])] = &[
    (
        "alpine",
        &[
            "APKBUILD",
            "knockd-xdp.initd",
            "knockd-xdp.pre-deinstall",
            "knockd-xdp.pre-install",
        ],
    ),
    ("arch", &["PKGBUILD", "knockd-xdp.install"]),
    ("openwrt/files", &["knockd.init"]),
];

/// Checks every script that is shipped or that the tests run.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    apt::provide(&[SHELLCHECK])?;
    let mut scripts = Vec::new();
    for folder in [
        workspace.root.join(".ci"),
        workspace.packaging("debian"),
        workspace.packaging("firewall"),
        workspace.tests().join("src/machine"),
        workspace.programs().join("xdp/ebpf-build"),
        workspace.guest(),
    ] {
        scripts.extend(scripts_in(&folder)?);
    }
    // As they are once the versions are in them.
    let manifests = tempdir()?;
    release::write_sample_manifests(workspace, manifests.path())?;
    for (folder, names) in MANIFESTS {
        let folder = manifests.path().join(folder);
        scripts.extend(names.iter().map(|name| folder.join(name)));
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
