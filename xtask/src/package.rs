//! What is shipped: a Debian package, a tarball of the same files, and lists of what is built in.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    apt::{self, Provided},
    setup::{self, install_tool},
    workspace::{Workspace, output, run},
};

/// Rust 1.95 builds them.
const CARGO_DEB: &str = "3.8.0";
const CARGO_CYCLONEDX: &str = "0.5.9";

/// Finds the libraries that the programs need.
const SHLIBDEPS: Provided = Provided {
    program: "dpkg-shlibdeps",
    package: "dpkg-dev",
};

/// The pages that `knock-user`'s example `documents` makes.
const PAGES: [&str; 3] = ["knock.1", "knockd.toml.5", "knockd.8"];

/// What is built in: the programs and, compiled into one of them, the kernel's half.
const BUILT_IN: [&str; 2] = ["knock-user", "knock-ebpf"];

/// Sets up, and makes the package.
pub(crate) fn package(workspace: &Workspace) -> Result<()> {
    setup::setup(workspace, None)?;
    for file in make(workspace)? {
        println!("{}", file.display());
    }
    Ok(())
}

/// Builds everything and writes it to the folder `package` of the target directory, which has
/// nothing else in it then. Returns the files.
pub(crate) fn make(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    ensure!(
        cfg!(target_os = "linux") && Path::new("/usr/bin/dpkg-deb").is_file(),
        "a Debian package is made on Debian: dpkg-deb is not there"
    );
    apt::provide(&[SHLIBDEPS])?;
    install_tool(workspace, "cargo-deb", CARGO_DEB)?;
    install_tool(workspace, "cargo-cyclonedx", CARGO_CYCLONEDX)?;
    run(&mut workspace.cargo("build --quiet --release --package knock-user"))?;
    let epoch = epoch(workspace);
    // cargo-deb finds this folder, since it is the one that is built in.
    let documents = workspace.target.join("release/documents");
    write_documents(workspace, &documents)?;
    let folder = workspace.target.join("package");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut files = Vec::new();
    for name in BUILT_IN {
        let list = documents.join(format!("{name}.cdx.json"));
        list_built_in(workspace, name, epoch.as_deref(), &list)?;
        let copy = folder.join(format!("{name}.cdx.json"));
        fs::copy(&list, &copy)?;
        files.push(copy);
    }
    let deb = build_deb(workspace, epoch.as_deref(), &folder)?;
    files.push(build_tarball(&deb)?);
    files.push(deb);
    Ok(files)
}

/// The time that files in the package have, so that two builds of one commit are the same: what
/// is asked for, or the commit's, if this is a clone.
fn epoch(workspace: &Workspace) -> Option<String> {
    const ASKED: &str = "SOURCE_DATE_EPOCH";
    env::var(ASKED).ok().or_else(|| {
        let mut log = workspace.command("git");
        let epoch = output(log.args(["log", "-1", "--format=%ct"])).ok()?;
        Some(epoch.trim().to_owned())
    })
}

fn at(command: &mut Command, epoch: Option<&str>) {
    if let Some(epoch) = epoch {
        command.env("SOURCE_DATE_EPOCH", epoch);
    }
}

/// Writes manual pages and completions to `folder`.
fn write_documents(workspace: &Workspace, folder: &Path) -> Result<()> {
    let mut documents = workspace.cargo("run --quiet --package knock-user --example documents --");
    run(documents.arg(folder))?;
    let mut gzip = Command::new("gzip");
    gzip.args(["--force", "--best", "--no-name"]);
    run(gzip.args(PAGES.map(|page| folder.join(page))))
}

/// Writes to `list` of what the crate `name` is made, as CycloneDX has it.
fn list_built_in(
    workspace: &Workspace,
    name: &str,
    epoch: Option<&str>,
    list: &Path,
) -> Result<()> {
    let file = list.file_name().context("a list has no name")?;
    let mut cyclonedx = workspace.command(workspace.tools().join("bin/cargo-cyclonedx"));
    cyclonedx.args([
        "cyclonedx",
        "--quiet",
        "--format=json",
        "--spec-version=1.5",
    ]);
    cyclonedx.args(["--no-build-deps", "--override-filename"]);
    cyclonedx.arg(list.file_stem().context("a list has no name")?);
    at(&mut cyclonedx, epoch);
    let made = run(&mut cyclonedx);
    // It makes one for each member of the workspace, in the member's folder.
    let text = fs::read_to_string(workspace.root.join(name).join(file));
    for member in fs::read_dir(&workspace.root)? {
        let _ = fs::remove_file(member?.path().join(file));
    }
    made?;
    // Nobody else has this folder.
    let root = format!("file://{}", workspace.root.display());
    fs::write(list, text?.replace(&root, "file:///knockd"))?;
    Ok(())
}

fn build_deb(workspace: &Workspace, epoch: Option<&str>, folder: &Path) -> Result<PathBuf> {
    let mut deb = workspace.command(workspace.tools().join("bin/cargo-deb"));
    deb.args(["deb", "--quiet", "--no-build", "--locked"]);
    deb.args(["--package", "knock-user", "--output"])
        .arg(folder);
    at(&mut deb, epoch);
    let path = output(&mut deb)?;
    let path = PathBuf::from(path.trim_end());
    ensure!(path.is_file(), "cargo-deb has written no package");
    Ok(path)
}

/// The files of the package `deb` beside it, for a system without dpkg.
fn build_tarball(deb: &Path) -> Result<PathBuf> {
    // `knockd-xdp_VERSION_ARCHITECTURE`.
    let name = deb.file_stem().and_then(|name| name.to_str());
    let name = name.context("cargo-deb has named no package")?;
    let name = name.replace("-xdp_", "-").replace('_', "-");
    let tar = deb.with_file_name(format!("{name}.tar"));
    run(Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(File::create(&tar)?))?;
    run(Command::new("gzip").args(["--best", "--no-name"]).arg(&tar))?;
    Ok(deb.with_file_name(format!("{name}.tar.gz")))
}
