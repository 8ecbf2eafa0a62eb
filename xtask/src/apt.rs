//! Debian packages, for programs that are missing.

use std::{
    fs, io,
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    privilege::as_root,
    workspace::{is_installed, run},
};

/// A program and the Debian package that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provided {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// Held while apt is used. Threads of this process need packages at the same time, and apt does not wait
/// for another process that updates its lists.
static IN_USE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the packages of those programs that are missing.
pub(crate) fn provide(programs: &[Provided]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|provided| !is_installed(provided.program))
        .map(|provided| provided.package)
        .collect();
    install(&missing)
}

/// Installs `packages`.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let _alone = alone();
    println!("installing from Debian: {list}");
    update(&list)?;
    run(apt()?
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages))
    .with_context(|| format!("cannot install {list}"))
}

/// Extracts one program from its package into the folder `bin`, unless it is installed or already
/// there. Nothing else is installed: no service that would start, no user, no dependencies.
pub(crate) fn extract(provided: Provided, bin: &Path) -> Result<()> {
    let Provided { program, package } = provided;
    if is_installed(program) || bin.join(program).is_file() {
        return Ok(());
    }
    let folder = bin.with_file_name(package);
    unpack(package, &folder)?;
    fs::create_dir_all(bin)?;
    fs::rename(folder.join("usr/bin").join(program), bin.join(program))
        .with_context(|| format!("{package} has no {program}"))?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Unpacks `package` into `folder`, which is emptied first, and installs nothing.
pub(crate) fn unpack(package: &str, folder: &Path) -> Result<()> {
    let _alone = alone();
    println!("unpacking from Debian: {package}");
    update(package)?;
    // Left by an earlier call that was interrupted.
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    // The user of apt's sandbox cannot write to this folder, about which apt would warn.
    run(Command::new("apt-get")
        .args(["-qq", "-o", "APT::Sandbox::User=root", "download", package])
        .current_dir(folder))?;
    let files = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let [archive] = &files[..] else {
        bail!("apt-get did not leave one package in {}", folder.display());
    };
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(archive.path())
        .arg(folder))?;
    fs::remove_file(archive.path())?;
    Ok(())
}

/// Unpacks `packages`, and those of their dependencies that are not installed, over each other into
/// `folder`, which is emptied first, and installs nothing.
pub(crate) fn unpack_all(packages: &[&str], folder: &Path) -> Result<()> {
    let _alone = alone();
    let list = packages.join(" ");
    println!("unpacking from Debian: {list}");
    update(&list)?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let archives = folder.join("archives");
    fs::create_dir_all(archives.join("partial"))?;
    // An installed package may be of another version, or its service may be in use: fetch all.
    let mut download = Command::new("apt-get");
    download.args(["-qq", "-y", "--download-only", "--reinstall"]);
    download.args(["--no-install-recommends", "-o", "APT::Sandbox::User=root"]);
    // Only this folder is written, which needs neither root nor a lock.
    download.args(["-o", "Debug::NoLocking=1", "-o"]);
    download.arg(format!("Dir::Cache::Archives={}", archives.display()));
    run(download.arg("install").args(packages)).with_context(|| format!("cannot fetch {list}"))?;
    for archive in fs::read_dir(&archives)? {
        let archive = archive?.path();
        if archive.extension().is_some_and(|kind| kind == "deb") {
            run(Command::new("dpkg-deb")
                .arg("--extract")
                .arg(&archive)
                .arg(folder))?;
        }
    }
    fs::remove_dir_all(&archives)?;
    Ok(())
}

/// Updates the lists of packages, to install `wanted`.
fn update(wanted: &str) -> Result<()> {
    if !is_installed("apt-get") {
        bail!(
            "this needs the programs of the Debian packages {wanted}: install them and try again"
        );
    }
    run(apt()?.arg("update")).context("cannot update the lists of packages")
}

fn apt() -> Result<Command> {
    let mut apt = as_root("env")?;
    apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]);
    // Another process may be installing packages.
    apt.args(["-o", "DPkg::Lock::Timeout=300"]);
    Ok(apt)
}
