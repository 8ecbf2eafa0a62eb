//! The kernels that are booted, and where Debian has them.

use std::{env, path::PathBuf};

use anyhow::{Result, bail};

use crate::{targets::Target, workspace::Workspace};

/// What a kernel runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// Its name in Debian.
    pub(super) fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Whether the programs that this machine builds run on it.
    pub(super) fn is_native(self) -> bool {
        match self {
            Self::Amd64 => env::consts::ARCH == "x86_64",
            Self::Arm64 => env::consts::ARCH == "aarch64",
        }
    }

    /// What cargo builds for it, if that is not this machine's own.
    pub(super) fn foreign(self) -> Result<Option<Target>> {
        match self {
            _ if self.is_native() => Ok(None),
            Self::Arm64 => Ok(Some(Target::Arm64)),
            Self::Amd64 => bail!("nothing is built for {} on this machine", self.debian()),
        }
    }

    /// Its strip(1), which comes with the linker.
    pub(super) fn strip(self) -> &'static str {
        match self {
            _ if self.is_native() => "strip",
            Self::Amd64 => "x86_64-linux-gnu-strip",
            Self::Arm64 => "aarch64-linux-gnu-strip",
        }
    }

    /// A program of this project that was built for it.
    pub(super) fn program(self, workspace: &Workspace, name: &str) -> PathBuf {
        match self.is_native() {
            true => workspace.binary(name),
            false => workspace
                .target
                .join(Target::Arm64.triple())
                .join("debug")
                .join(name),
        }
    }
}

/// A kernel of Debian.
#[derive(Debug)]
pub(super) struct Kernel {
    /// How the command line and the report call it.
    pub(super) name: &'static str,
    pub(super) arch: Arch,
    /// The package that depends on the newest version.
    pub(super) package: &'static str,
    /// Sets of suites, the best first. The newest kernel in the first set that can be had is taken.
    pub(super) suites: &'static [&'static [&'static str]],
}

/// All kernels, in the order in which they are booted.
pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: SHORT,
        arch: Arch::Amd64,
        package: "linux-image-amd64",
        suites: &[&["bookworm", "bookworm-security"], &["bookworm"]],
    },
    Kernel {
        name: "6.12",
        arch: Arch::Amd64,
        package: "linux-image-amd64",
        suites: &[
            &["trixie", "trixie-security"],
            &["trixie"],
            &["bookworm-backports"],
        ],
    },
    Kernel {
        name: "sid",
        arch: Arch::Amd64,
        package: "linux-image-amd64",
        suites: &[&["sid"]],
    },
    Kernel {
        name: "5.10",
        arch: Arch::Amd64,
        package: "linux-image-amd64",
        suites: &[&["bullseye-security"], &["bullseye"]],
    },
    Kernel {
        name: "6.1-arm64",
        arch: Arch::Arm64,
        package: "linux-image-arm64",
        suites: &[&["bookworm", "bookworm-security"], &["bookworm"]],
    },
    // Its pages have 16 KiB.
    Kernel {
        name: "6.12-arm64-16k",
        arch: Arch::Arm64,
        package: "linux-image-arm64-16k",
        suites: &[&["trixie", "trixie-security"], &["trixie"]],
    },
];

/// The kernel that `cargo xtask test` boots.
pub(super) const SHORT: &str = "6.1";

/// The kernels with these names; all without a name.
pub(super) fn chosen(names: &[String]) -> Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    names.iter().map(|name| named(name)).collect()
}

/// The kernel with this name.
pub(super) fn named(name: &str) -> Result<&'static Kernel> {
    match KERNELS.iter().find(|kernel| kernel.name == name) {
        Some(kernel) => Ok(kernel),
        None => {
            let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
            bail!(
                "there is no kernel `{name}`: choose from {}",
                known.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_name_all_kernels_are_chosen() {
        assert_eq!(chosen(&[]).unwrap().len(), KERNELS.len());
    }

    #[test]
    fn an_unknown_kernel_is_refused_with_the_known_ones() {
        let error = chosen(&["2.6".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`2.6`") && error.contains("6.12"), "{error}");
    }
}
