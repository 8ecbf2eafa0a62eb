//! What is shipped: a Debian package, a tarball of the same files, and software bills of materials.

mod materials;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    apt::{self, Provided},
    reproducible::{self, epoch},
    setup,
    targets::{Kind, Target},
    tools::install_crate,
    workspace::{EBPF, MANPAGES, PROGRAMS, Workspace, output, run},
};

/// Rust 1.95 builds it.
const CARGO_DEB: &str = "3.8.0";

/// Finds the libraries that the programs need.
const SHLIBDEPS: Provided = Provided {
    program: "dpkg-shlibdeps",
    package: "dpkg-dev",
};

/// The pages that the package [`MANPAGES`] writes.
const PAGES: [&str; 3] = ["knock.1", "knockd.toml.5", "knockd.8"];

/// The packages that are shipped: the programs, and the eBPF program that knockd contains.
const BUILT_IN: [&str; 2] = [PROGRAMS, EBPF];

/// How the programs of a package are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// With optimisation, as they are shipped.
    Release,
    /// As for the tests, which need no second build.
    Dev,
}

impl Profile {
    /// The name in cargo, and of its folder in the target directory.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Release => ("release", "release"),
            Self::Dev => ("dev", "debug"),
        }
    }
}

/// Sets up, builds everything and makes the package, for this machine or for `target`.
pub(crate) fn package(workspace: &Workspace, target: Option<Target>) -> Result<()> {
    setup::setup(workspace, None)?;
    build(workspace, target)?;
    run(&mut workspace.cargo(&format!("build --quiet --package {MANPAGES}")))?;
    for file in assemble(workspace, target, Profile::Release)? {
        println!("{}", file.display());
    }
    Ok(())
}

/// Installs the tools for the package, and builds the programs for it.
pub(crate) fn build(workspace: &Workspace, target: Option<Target>) -> Result<()> {
    install_tools(workspace)?;
    let mut cargo = workspace.cargo(&format!("build --quiet --release --package {PROGRAMS}"));
    if let Some(target) = target {
        target.provide()?;
        target.build(&mut cargo);
        reproducible::without_paths(workspace, target, &mut cargo)?;
    }
    run(&mut cargo)
}

/// Installs the tools for the package.
pub(crate) fn install_tools(workspace: &Workspace) -> Result<()> {
    ensure!(
        cfg!(target_os = "linux") && Path::new("/usr/bin/dpkg-deb").is_file(),
        "a Debian package can only be made on Debian: there is no dpkg-deb"
    );
    apt::provide(&[SHLIBDEPS])?;
    install_crate(workspace, "cargo-deb", CARGO_DEB, &[])
}

/// Makes the package in the folder `package` of the target directory, or of its subfolder for
/// `target`; the folder is emptied first. The tools are installed, and the programs and, for debugging,
/// [`MANPAGES`] have been built. Returns the files.
pub(crate) fn assemble(
    workspace: &Workspace,
    target: Option<Target>,
    profile: Profile,
) -> Result<Vec<PathBuf>> {
    let folder = built(workspace, target).join("package");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let deb = build_deb(workspace, &folder, target, profile)?;
    let mut files = copy_bills(workspace, &folder, target, profile)?;
    // `knockd-xdp_VERSION_ARCHITECTURE`.
    let name = deb.file_stem().and_then(|name| name.to_str());
    let name = name.context("cargo-deb named no package")?;
    let name = name.replace("-xdp_", "-").replace('_', "-");
    files.push(build_tarball(&deb, &folder.join(name + ".tar"))?);
    files.push(deb);
    Ok(files)
}

/// Where cargo puts what it builds for `target`.
fn built(workspace: &Workspace, target: Option<Target>) -> PathBuf {
    match target {
        Some(target) => workspace.target.join(target.triple()),
        None => workspace.target.clone(),
    }
}

/// Where cargo-deb looks for what is written for a package.
fn documents(workspace: &Workspace, target: Option<Target>, profile: Profile) -> PathBuf {
    let (_, folder) = profile.names();
    built(workspace, target).join(folder).join("documents")
}

/// Copies to `folder` the bills of materials that [`build_deb`] has written. Returns the copies.
pub(crate) fn copy_bills(
    workspace: &Workspace,
    folder: &Path,
    target: Option<Target>,
    profile: Profile,
) -> Result<Vec<PathBuf>> {
    let documents = documents(workspace, target, profile);
    let copy = |name| {
        let name = format!("{name}.cdx.json");
        fs::copy(documents.join(&name), folder.join(&name))?;
        Ok(folder.join(name))
    };
    BUILT_IN.into_iter().map(copy).collect()
}

/// Writes manual pages and completions to `folder`.
fn write_documents(workspace: &Workspace, folder: &Path) -> Result<()> {
    run(workspace.command(workspace.binary(MANPAGES)).arg(folder))?;
    let mut gzip = Command::new("gzip");
    gzip.args(["--force", "--best", "--no-name"]);
    run(gzip.args(PAGES.map(|page| folder.join(page))))
}

/// Writes to `folder` a bill of materials for each package in [`BUILT_IN`].
fn list_built_in(workspace: &Workspace, folder: &Path, target: Option<Target>) -> Result<()> {
    for name in BUILT_IN {
        let bill = materials::bill(workspace, name, target)?;
        fs::write(folder.join(format!("{name}.cdx.json")), bill)?;
    }
    Ok(())
}

/// Makes the Debian package in `folder`, with everything that is written for it. Returns its path.
pub(crate) fn build_deb(
    workspace: &Workspace,
    folder: &Path,
    target: Option<Target>,
    profile: Profile,
) -> Result<PathBuf> {
    let documents = documents(workspace, target, profile);
    write_documents(workspace, &documents)?;
    list_built_in(workspace, &documents, target)?;
    let mut deb = workspace.command(workspace.tools().join("bin/cargo-deb"));
    deb.args(["deb", "--quiet", "--no-build", "--locked"]);
    let (name, _) = profile.names();
    deb.args(["--profile", name]);
    deb.args(["--package", PROGRAMS, "--output"]).arg(folder);
    if let Some(target) = target {
        deb.args(["--target", target.triple()]);
        // The linker has done it.
        if profile == Profile::Release {
            deb.arg("--no-strip");
        }
        // There are no libraries to depend on.
        if target.kind() == Kind::Static {
            deb.args(["--variant", "static"]);
        }
    }
    if let Ok(epoch) = epoch(workspace) {
        reproducible::at(&mut deb, &epoch);
    }
    let path = output(&mut deb)?;
    let path = PathBuf::from(path.trim_end());
    ensure!(path.is_file(), "cargo-deb wrote no package");
    Ok(path)
}

/// The files of the package `deb`, for a system without dpkg, in `tar`, which is compressed then.
/// Returns the path.
pub(crate) fn build_tarball(deb: &Path, tar: &Path) -> Result<PathBuf> {
    run(Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(File::create(tar)?))?;
    run(Command::new("gzip")
        .args(["--force", "--best", "--no-name"])
        .arg(tar))?;
    let mut name = tar.as_os_str().to_owned();
    name.push(".gz");
    Ok(name.into())
}
