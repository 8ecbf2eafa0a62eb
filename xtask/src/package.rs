//! What is shipped: a Debian package, a tarball of the same files, and software bills of materials.

mod materials;

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    apt::{self, Provided},
    setup,
    targets::Target,
    tools::install_crate,
    workspace::{EBPF, MANPAGES, PROGRAMS, Workspace, output, run},
};

/// Rust 1.95 builds it.
const CARGO_DEB: &str = "3.8.0";

/// See <https://reproducible-builds.org/specs/source-date-epoch/>.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

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
    let epoch = epoch(workspace);
    let built = match target {
        Some(target) => workspace.target.join(target.triple()),
        None => workspace.target.clone(),
    };
    // cargo-deb looks for assets in this directory.
    let (_, folder) = profile.names();
    let documents = built.join(folder).join("documents");
    write_documents(workspace, &documents)?;
    let folder = built.join("package");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut files = Vec::new();
    list_built_in(workspace, &documents, target)?;
    for name in BUILT_IN {
        let list = folder.join(format!("{name}.cdx.json"));
        fs::copy(documents.join(format!("{name}.cdx.json")), &list)?;
        files.push(list);
    }
    let deb = build_deb(workspace, epoch.as_deref(), &folder, target, profile)?;
    files.push(build_tarball(&deb)?);
    files.push(deb);
    Ok(files)
}

/// The modification time of the files in the package, so that two builds of one commit are the
/// same: `SOURCE_DATE_EPOCH`, or the time of the commit if this is a clone.
fn epoch(workspace: &Workspace) -> Option<String> {
    env::var(SOURCE_DATE_EPOCH).ok().or_else(|| {
        let mut log = workspace.command("git");
        let epoch = output(log.args(["log", "-1", "--format=%ct"])).ok()?;
        Some(epoch.trim().to_owned())
    })
}

fn at(command: &mut Command, epoch: Option<&str>) {
    if let Some(epoch) = epoch {
        command.env(SOURCE_DATE_EPOCH, epoch);
    }
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

fn build_deb(
    workspace: &Workspace,
    epoch: Option<&str>,
    folder: &Path,
    target: Option<Target>,
    profile: Profile,
) -> Result<PathBuf> {
    let mut deb = workspace.command(workspace.tools().join("bin/cargo-deb"));
    deb.args(["deb", "--quiet", "--no-build", "--locked"]);
    let (name, _) = profile.names();
    deb.args(["--profile", name]);
    deb.args(["--package", PROGRAMS, "--output"]).arg(folder);
    if let Some(target) = target {
        deb.args(["--target", target.triple()]);
    }
    at(&mut deb, epoch);
    let path = output(&mut deb)?;
    let path = PathBuf::from(path.trim_end());
    ensure!(path.is_file(), "cargo-deb wrote no package");
    Ok(path)
}

/// The files of the package `deb` beside it, for a system without dpkg.
fn build_tarball(deb: &Path) -> Result<PathBuf> {
    // `knockd-xdp_VERSION_ARCHITECTURE`.
    let name = deb.file_stem().and_then(|name| name.to_str());
    let name = name.context("cargo-deb named no package")?;
    let name = name.replace("-xdp_", "-").replace('_', "-");
    let tar = deb.with_file_name(format!("{name}.tar"));
    run(Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(File::create(&tar)?))?;
    run(Command::new("gzip").args(["--best", "--no-name"]).arg(&tar))?;
    Ok(deb.with_file_name(format!("{name}.tar.gz")))
}
