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
    workspace::{Workspace, output, run},
};

/// Programs of this machine, whose libraries are those that knockd is linked with.
/// The shell is not busybox's: that one prefers its own programs, also those that lack options.
const PROGRAMS: &[&str] = &[SHELL, "ip", "tc", "setpriv"];

/// What the harness of the project's tests calls beside [`PROGRAMS`]. `setup` installs it.
const OF_TESTS: &[&str] = &[
    "bash", "ethtool", "nft", "nsenter", "ssh", "strace", "unshare",
];

const SHELL: &str = "dash";

/// The programs of this project.
const OURS: &[&str] = &["knockd", "knock"];

/// The suite of the programs that are unpacked. It is not newer than this project's builds.
const SUITE: &str = "bookworm";

/// The usual tools, without libraries.
const BUSYBOX: &str = "busybox-static";

/// Software that makes PPPoE sessions and WireGuard tunnels, with its libraries, in a root directory
/// of its own.
const OTHERS: &[&str] = &[
    SHELL,
    "libaudit1",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcrypt1",
    "libdbus-1-3",
    "libgcrypt20",
    "libgpg-error0",
    "liblz4-1",
    "liblzma5",
    "libpam0g",
    "libpcap0.8",
    "libssl3",
    "libsystemd0",
    "libzstd1",
    "ppp",
    "pppoe",
    "wireguard-tools",
];

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

/// [`OF_TESTS`] and the libraries that are not in [`FOREIGN`].
const FOREIGN_OF_TESTS: &[&str] = &[
    "bash",
    "ethtool",
    "libedit2",
    "libgmp10",
    "libjansson4",
    "libnftables1",
    "libnftnl11",
    "libtinfo6",
    "libunwind8",
    "liblzma5",
    "nftables",
    "strace",
];

/// Folders of the unpacked packages that the guest can do without.
const LEFT_OUT: &[&str] = &[
    "usr/share",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/gconv",
];

/// Fills the root directory `root`.
pub(super) fn install(workspace: &Workspace, arch: Arch, root: &Path) -> Result<()> {
    let packages: &[&str] = match arch.is_native() {
        true => &[BUSYBOX],
        false => FOREIGN,
    };
    let unpacked = unpack(workspace, arch, "userland", packages)?;
    copy_program(&unpacked.join("bin/busybox"), &root.join("bin/busybox"))?;
    let folder = match arch.is_native() {
        true => "usr/sbin",
        false => "bin",
    };
    symlink(Path::new("/").join(folder).join(SHELL), root.join("bin/sh"))?;
    for program in OURS {
        let path = arch.program(workspace, program);
        copy_stripped(arch, &path, &root.join("usr/sbin").join(program))?;
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

/// Unpacks `packages` for `arch` into a folder of this name, and returns its path.
fn unpack(workspace: &Workspace, arch: Arch, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let packages: Vec<_> = packages.iter().map(|name| (*name).to_owned()).collect();
    let folder = workspace
        .target
        .join(format!("vm/{name}-{}", arch.debian()));
    archive::provide(workspace, &[&[SUITE]], arch, &folder, |_| {
        Ok(packages.clone())
    })?;
    Ok(folder)
}

/// Adds [`OTHERS`] in the folder `others`.
pub(super) fn install_others(workspace: &Workspace, arch: Arch, root: &Path) -> Result<()> {
    let unpacked = unpack(workspace, arch, "others", OTHERS)?;
    copy_tree(&unpacked, Path::new(""), &root.join("others"))
}

/// Adds the test executables, beside the programs as cargo builds them.
pub(super) fn install_tests(
    workspace: &Workspace,
    arch: Arch,
    tests: &[Executable],
    root: &Path,
) -> Result<()> {
    let build = root.join("project/target/debug");
    fs::create_dir_all(root.join("project/tests"))?;
    for test in tests {
        copy_stripped(arch, &test.path, &build.join("deps").join(&test.target))?;
        if arch.is_native() {
            copy_libraries(&test.path, root)?;
        }
    }
    for program in OURS {
        copy_stripped(
            arch,
            &arch.program(workspace, program),
            &build.join(program),
        )?;
    }
    if !arch.is_native() {
        let unpacked = unpack(workspace, arch, "tests", FOREIGN_OF_TESTS)?;
        return copy_tree(&unpacked, Path::new(""), root);
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

/// Copies what cargo built without the information for debuggers, which is most of it: a guest has
/// little memory.
fn copy_stripped(arch: Arch, from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.with_file_name(""))?;
    let mut strip = Command::new(arch.strip());
    strip.arg("--strip-debug").arg("-o").arg(to).arg(from);
    run(&mut strip)
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
