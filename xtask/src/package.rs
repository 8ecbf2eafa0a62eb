//! What is shipped: a Debian package, a tarball of the same files, and lists of what is built in.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{
    apt::{self, Provided},
    setup,
    tools::install_crate,
    workspace::{EBPF, MANPAGES, PROGRAMS, Workspace, output, run},
};

/// Rust 1.95 builds them.
const CARGO_DEB: &str = "3.8.0";
const CARGO_CYCLONEDX: &str = "0.5.9";

/// Finds the libraries that the programs need.
const SHLIBDEPS: Provided = Provided {
    program: "dpkg-shlibdeps",
    package: "dpkg-dev",
};

/// The pages that the package [`MANPAGES`] writes.
const PAGES: [&str; 3] = ["knock.1", "knockd.toml.5", "knockd.8"];

/// What is built in: the programs and, compiled into one of them, the kernel's half.
const BUILT_IN: [&str; 2] = [PROGRAMS, EBPF];

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
    install_crate(workspace, "cargo-deb", CARGO_DEB, &[])?;
    install_crate(workspace, "cargo-cyclonedx", CARGO_CYCLONEDX, &[])?;
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
    list_built_in(workspace, epoch.as_deref(), &documents)?;
    for name in BUILT_IN {
        let list = folder.join(format!("{name}.cdx.json"));
        fs::copy(documents.join(format!("{name}.cdx.json")), &list)?;
        files.push(list);
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
    let mut documents = workspace.cargo(&format!("run --quiet --package {MANPAGES} --"));
    run(documents.arg(folder))?;
    let mut gzip = Command::new("gzip");
    gzip.args(["--force", "--best", "--no-name"]);
    run(gzip.args(PAGES.map(|page| folder.join(page))))
}

/// Writes to `folder` of what each crate in [`BUILT_IN`] is made, as CycloneDX has it.
fn list_built_in(workspace: &Workspace, epoch: Option<&str>, folder: &Path) -> Result<()> {
    // The lists are written beside the manifests. There they would have everything built again.
    let mirror = mirror(workspace)?;
    let mut cyclonedx = workspace.command(workspace.tools().join("bin/cargo-cyclonedx"));
    cyclonedx.current_dir(mirror.path());
    cyclonedx.args([
        "cyclonedx",
        "--quiet",
        "--format=json",
        "--spec-version=1.5",
    ]);
    cyclonedx.args(["--no-build-deps", "--override-filename=list"]);
    at(&mut cyclonedx, epoch);
    run(&mut cyclonedx)?;
    let root = format!("file://{}", mirror.path().display());
    for name in BUILT_IN {
        let list = fs::read_to_string(mirror.path().join(name).join("list.json"))?;
        // Nobody else has this folder.
        let list = list.replace(&root, "file:///knockd");
        fs::write(folder.join(format!("{name}.cdx.json")), list)?;
    }
    Ok(())
}

/// The workspace once more, in links, but with folders of its own for its members.
fn mirror(workspace: &Workspace) -> Result<TempDir> {
    let mirror = tempfile::tempdir_in(&workspace.target)?;
    for file in ["Cargo.toml", "Cargo.lock"] {
        symlink(workspace.root.join(file), mirror.path().join(file))?;
    }
    for member in fs::read_dir(&workspace.root)? {
        let member = member?;
        if member.path().join("Cargo.toml").is_file() {
            let folder = mirror.path().join(member.file_name());
            fs::create_dir(&folder)?;
            for entry in fs::read_dir(member.path())? {
                let entry = entry?;
                symlink(entry.path(), folder.join(entry.file_name()))?;
            }
        }
    }
    Ok(mirror)
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
