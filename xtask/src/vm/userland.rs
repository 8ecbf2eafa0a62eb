//! What the guest has beside the kernel's modules: programs with their libraries.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{archive, kernel::Arch};
use crate::{
    executables::Executable,
    workspace::{Workspace, output},
};

/// Programs of this machine, whose libraries are those that knockd is linked with.
/// The shell is not busybox's: that one prefers its own programs, also those that lack options.
const PROGRAMS: &[&str] = &[SHELL, "ip", "tc", "setpriv"];

/// What the harness of the project's tests calls beside [`PROGRAMS`]. `setup` installs it.
const OF_TESTS: &[&str] = &["ethtool", "nft", "nsenter", "ssh", "strace", "unshare"];

const SHELL: &str = "dash";

/// The programs of this project.
const OURS: &[&str] = &["knockd", "knock"];

/// The suite of the programs that are unpacked. It is not newer than this project's builds.
const SUITE: &str = "bookworm";

/// The usual tools, without libraries.
const BUSYBOX: &str = "busybox-static";

/// [`PROGRAMS`] and all libraries, for a guest of another architecture.
const FOREIGN: &[&str] = &[
    BUSYBOX,
    SHELL,
    "iproute2",
    "libbpf1",
    "libbsd0",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libelf1",
    "libgcc-s1",
    "libmd0",
    "libmnl0",
    "libpcre2-8-0",
    "libselinux1",
    "libtirpc3",
    "libxtables12",
    "util-linux",
    "zlib1g",
];

/// Folders of the unpacked packages that the guest can do without.
const LEFT_OUT: &[&str] = &["usr/share", "usr/lib/aarch64-linux-gnu/gconv"];

/// Fills the root directory `root`.
pub(super) fn install(workspace: &Workspace, arch: Arch, root: &Path) -> Result<()> {
    let packages: &[&str] = match arch.is_native() {
        true => &[BUSYBOX],
        false => FOREIGN,
    };
    let packages: Vec<_> = packages.iter().map(|name| (*name).to_owned()).collect();
    let unpacked = workspace
        .target
        .join(format!("vm/userland-{}", arch.debian()));
    archive::provide(workspace, &[&[SUITE]], arch, &unpacked, |_| {
        Ok(packages.clone())
    })?;
    copy_program(&unpacked.join("bin/busybox"), &root.join("bin/busybox"))?;
    let folder = match arch.is_native() {
        true => "usr/sbin",
        false => "bin",
    };
    symlink(Path::new("/").join(folder).join(SHELL), root.join("bin/sh"))?;
    for program in OURS {
        let path = arch.program(workspace, program);
        copy_program(&path, &root.join("usr/sbin").join(program))?;
        if arch.is_native() {
            copy_libraries(&path, root)?;
        }
    }
    if !arch.is_native() {
        return copy_tree(&unpacked, Path::new(""), root);
    }
    for program in PROGRAMS {
        let path = find(program)?;
        copy_program(&path, &root.join("usr/sbin").join(program))?;
        copy_libraries(&path, root)?;
    }
    Ok(())
}

/// Adds the test executables, beside the programs as cargo builds them.
pub(super) fn install_tests(
    workspace: &Workspace,
    tests: &[Executable],
    root: &Path,
) -> Result<()> {
    let build = root.join("project/target/debug");
    fs::create_dir_all(root.join("project/tests"))?;
    for test in tests {
        copy_program(&test.path, &build.join("deps").join(&test.target))?;
        copy_libraries(&test.path, root)?;
    }
    for program in OURS {
        copy_program(&workspace.binary(program), &build.join(program))?;
    }
    for program in OF_TESTS {
        let path = find(program)?;
        copy_program(&path, &root.join("usr/sbin").join(program))?;
        copy_libraries(&path, root)?;
    }
    Ok(())
}

/// Where the shell of root finds `program`.
fn find(program: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("there is no program {program}"))
}

fn copy_program(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.with_file_name(""))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn copy_libraries(program: &Path, root: &Path) -> Result<()> {
    let text = output(Command::new("ldd").arg(program))?;
    let libraries = libraries(&text);
    ensure!(
        !libraries.is_empty(),
        "{} has no libraries",
        program.display()
    );
    for library in libraries {
        copy_program(
            Path::new(library),
            &root.join(library.trim_start_matches('/')),
        )?;
    }
    Ok(())
}

/// The paths in the output of `ldd`.
fn libraries(ldd: &str) -> BTreeSet<&str> {
    ldd.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .collect()
}

/// Copies the folder `below` of `from` to the same place in `to`, without following links.
fn copy_tree(from: &Path, below: &Path, to: &Path) -> Result<()> {
    if LEFT_OUT.iter().any(|left_out| Path::new(left_out) == below) {
        return Ok(());
    }
    fs::create_dir_all(to.join(below))?;
    for entry in fs::read_dir(from.join(below))? {
        let entry = entry?;
        let place = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(from, &place, to)?;
        } else if to.join(&place).symlink_metadata().is_ok() {
            // This project's choice stays.
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, to.join(place))?;
        } else {
            fs::copy(entry.path(), to.join(place))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_all_libraries_are_found() {
        let ldd = "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let expected = ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(ldd), expected.into_iter().collect());
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
