//! The root directory of the guest, as a cpio archive that the kernel unpacks.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{kernel::Arch, modules::Modules, userland};
use crate::{
    executables::Executable,
    workspace::{Workspace, run},
};

/// Folders that the guest's init uses.
const FOLDERS: &[&str] = &[
    "bin", "dev", "etc", "lib", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin",
    "var/lib", "var/log",
];

/// Who is in the guest: the listener's user is that of the package.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/:/bin/false
knockd:x:100:100::/var/lib/knockd:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
";
/// Nobody has a password. The tests try to read it.
const SHADOW: &str = "root:*:20000:0:99999:7:::\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nknockd:x:100:\nnogroup:x:65534:\n";

/// What a guest has beside the programs of this project and what every check uses.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    pub(super) tests: &'a [Executable],
    /// Whether it has the software that makes links from outside the kernel.
    pub(super) has_others: bool,
}

/// Makes the archive in `folder`.
pub(super) fn make(
    workspace: &Workspace,
    arch: Arch,
    modules: &Modules,
    contents: &Contents<'_>,
    folder: &Path,
) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for needed in FOLDERS {
        fs::create_dir_all(root.join(needed))?;
    }
    fs::write(root.join("etc/passwd"), PASSWD)?;
    fs::write(root.join("etc/shadow"), SHADOW)?;
    fs::set_permissions(root.join("etc/shadow"), Permissions::from_mode(0o600))?;
    fs::write(root.join("etc/group"), GROUP)?;
    userland::install(workspace, arch, &root).context("cannot collect the guest's programs")?;
    modules
        .install(&root)
        .context("cannot collect the kernel's modules")?;
    copy_scripts(workspace, &root)?;
    if !contents.tests.is_empty() {
        userland::install_tests(workspace, arch, contents.tests, &root)?;
    }
    if contents.has_others {
        userland::install_others(workspace, arch, &root)?;
    }
    let archive = folder.join("initramfs.cpio");
    pack(&root, &archive)?;
    fs::remove_dir_all(&root)?;
    Ok(archive)
}

fn copy_scripts(workspace: &Workspace, root: &Path) -> Result<()> {
    let place = root.join("vm");
    fs::create_dir_all(&place)?;
    for script in fs::read_dir(workspace.guest())? {
        let script = script?;
        fs::copy(script.path(), place.join(script.file_name()))?;
    }
    std::os::unix::fs::symlink("vm/init.sh", root.join("init"))?;
    Ok(())
}

/// Packs `root` into `archive`, owned by root.
fn pack(root: &Path, archive: &Path) -> Result<()> {
    let mut list = tempfile::tempfile()?;
    for path in listing(root)? {
        list.write_all(path.as_bytes())?;
        list.write_all(b"\0")?;
    }
    std::io::Seek::rewind(&mut list)?;
    let mut cpio = Command::new("cpio");
    cpio.args([
        "--create",
        "--null",
        "--format=newc",
        "--owner=+0:+0",
        "--quiet",
    ]);
    cpio.current_dir(root).stdin(list);
    run(cpio.stdout(File::create(archive)?))
}

/// Everything in `root`, itself first, and each folder before its contents. Folders become
/// readable for everybody: the umask of whoever builds must not lock out the guest's users.
fn listing(root: &Path) -> Result<Vec<OsString>> {
    let mut list = Vec::new();
    let mut folders = vec![PathBuf::from(".")];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(root.join(&folder), Permissions::from_mode(0o755))?;
        list.push(folder.clone().into_os_string());
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                list.push(path.into_os_string());
            }
        }
    }
    list.sort();
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_listed_before_its_contents() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/sbin")).unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o700)).unwrap();
        fs::write(root.path().join("usr/sbin/ip"), "").unwrap();
        fs::write(root.path().join("init"), "").unwrap();
        let list = listing(root.path()).unwrap();
        assert_eq!(
            list,
            [".", "./init", "./usr", "./usr/sbin", "./usr/sbin/ip"]
        );
        let mode = fs::metadata(root.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
