//! The platforms that programs are built for: compilers and libraries for those of other machines.

use std::{env, iter, path::Path, process::Command};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{
    apt::{self, Provided},
    ci,
    workspace::{Workspace, output, run},
};

/// A platform, by its name in rustup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Debian's amd64
    #[value(name = "x86_64-unknown-linux-gnu")]
    Amd64,
    /// Debian's arm64
    #[value(name = "aarch64-unknown-linux-gnu")]
    Arm64,
    /// Debian's armhf
    #[value(name = "armv7-unknown-linux-gnueabihf")]
    Armhf,
    /// Static programs for x86-64
    #[value(name = "x86_64-unknown-linux-musl")]
    StaticX86,
    /// Static programs for 64-bit ARM
    #[value(name = "aarch64-unknown-linux-musl")]
    StaticArm64,
    /// Static programs for 32-bit ARM
    #[value(name = "armv7-unknown-linux-musleabihf")]
    StaticArmv7,
    /// The client for Windows
    #[value(name = "x86_64-pc-windows-gnu")]
    Windows,
}

/// What the programs for a target need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The C library of Debian.
    Debian,
    /// Nothing but a kernel: they contain musl.
    Static,
    /// Windows, where there is only the client.
    Windows,
}

impl Target {
    /// Its name in rustup.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
            Self::Armhf => "armv7-unknown-linux-gnueabihf",
            Self::StaticX86 => "x86_64-unknown-linux-musl",
            Self::StaticArm64 => "aarch64-unknown-linux-musl",
            Self::StaticArmv7 => "armv7-unknown-linux-musleabihf",
            Self::Windows => "x86_64-pc-windows-gnu",
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Amd64 | Self::Arm64 | Self::Armhf => Kind::Debian,
            Self::StaticX86 | Self::StaticArm64 | Self::StaticArmv7 => Kind::Static,
            Self::Windows => Kind::Windows,
        }
    }

    /// The name of its architecture in the triple.
    pub(crate) fn arch(self) -> &'static str {
        let triple = self.triple();
        triple.split_once('-').map_or(triple, |(arch, _)| arch)
    }

    /// The target of `kind` for this machine.
    pub(crate) fn of_host(kind: Kind) -> Option<Self> {
        let mut all = Self::value_variants().iter().copied();
        all.find(|target| target.kind() == kind && target.is_host())
    }

    /// The targets of `kind` for other machines.
    pub(crate) fn all_foreign(kind: Kind) -> impl Iterator<Item = Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(move |target| target.kind() == kind && !target.is_host())
    }

    /// Parses the target of a Debian package.
    ///
    /// # Errors
    ///
    /// Returns an error that names those that there are.
    pub(crate) fn debian(triple: &str) -> Result<Self, String> {
        let all = Self::value_variants().iter().copied();
        let debian: Vec<_> = all.filter(|one| one.kind() == Kind::Debian).collect();
        let found = debian.iter().find(|one| one.triple() == triple);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = debian.iter().map(|one| one.triple()).collect();
            format!("packages are made for {}", names.join(", "))
        })
    }

    /// The C compiler that also links for it. For a static program it is that of Debian: rustc brings
    /// musl, and the C code in it needs no library.
    fn compiler(self) -> Provided {
        let (program, package) = match self {
            Self::Amd64 | Self::StaticX86 => ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
            Self::Arm64 | Self::StaticArm64 => ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
            Self::Armhf | Self::StaticArmv7 => {
                ("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf")
            }
            Self::Windows => ("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64"),
        };
        Provided { program, package }
    }

    /// A file of the C library for the compiler, and its package, on which the compiler does not
    /// depend.
    fn library(self) -> Option<(&'static str, &'static str)> {
        match self {
            _ if self.is_host() => None,
            Self::Windows => None,
            Self::Amd64 | Self::StaticX86 => {
                Some(("/usr/x86_64-linux-gnu/lib/crti.o", "libc6-dev-amd64-cross"))
            }
            Self::Arm64 | Self::StaticArm64 => {
                Some(("/usr/aarch64-linux-gnu/lib/crti.o", "libc6-dev-arm64-cross"))
            }
            Self::Armhf | Self::StaticArmv7 => Some((
                "/usr/arm-linux-gnueabihf/lib/crti.o",
                "libc6-dev-armhf-cross",
            )),
        }
    }

    /// The folder with the C library for it, as Debian's packages for other machines have it.
    pub(crate) fn root(self) -> &'static str {
        match self.arch() {
            "aarch64" => "/usr/aarch64-linux-gnu",
            "armv7" => "/usr/arm-linux-gnueabihf",
            _ => "/usr/x86_64-linux-gnu",
        }
    }

    /// Whether this machine runs programs for it.
    pub(crate) fn is_host(self) -> bool {
        let arch = match self.arch() {
            "armv7" => "arm",
            arch => arch,
        };
        self != Self::Windows && arch == env::consts::ARCH
    }

    /// Installs what building for this target needs.
    pub(crate) fn provide(self) -> Result<()> {
        provide_library(self.triple())?;
        apt::provide(&[self.compiler()])?;
        match self.library() {
            Some((file, package)) if !Path::new(file).exists() => apt::install(&[package]),
            _ => Ok(()),
        }
    }

    /// Lets `cargo` build for this target.
    pub(crate) fn build(self, cargo: &mut Command) {
        let triple = self.triple().replace('-', "_");
        let linker = format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase());
        // Otherwise the compiler of musl would be looked for.
        let compiler = (self.kind() == Kind::Static).then(|| format!("CC_{triple}"));
        for variable in [Some(linker), compiler].into_iter().flatten() {
            if env::var_os(&variable).is_none() {
                cargo.env(variable, self.compiler().program);
            }
        }
        cargo.args(["--target", self.triple()]);
    }
}

/// Installs the standard library for the target that rustup calls `triple`.
///
/// # Errors
///
/// Returns an error if rustup cannot fetch it.
pub(crate) fn provide_library(triple: &str) -> Result<()> {
    let mut list = Command::new("rustup");
    list.args(["target", "list", "--installed"]);
    if output(&mut list)?.lines().any(|line| line == triple) {
        return Ok(());
    }
    println!("installing the standard library for {triple} with rustup");
    let mut add = Command::new("rustup");
    output(add.args(["target", "add", triple]))
        .with_context(|| format!("rustup has no {triple} here"))?;
    Ok(())
}

/// What is linted for other architectures: all but the project's tools, which run on the machines of
/// those who work on it.
const FOREIGN: &str =
    "--workspace --exclude xtask --exclude knock-bench --exclude knock-fuzz --lib --bins";

/// The tests with the real programs. Nobody runs them on a small board.
const FOREIGN_TESTS: &str = "--package knock-tests --all-targets";

/// Lints for all architectures of Debian but this machine's. Without their standard libraries this is
/// skipped, but not in CI. The client's TLS contains C code.
pub(crate) fn lint_foreign(workspace: &Workspace) -> Result<()> {
    for target in Target::all_foreign(Kind::Debian) {
        let lints = format!("lints for {}", target.triple());
        if ci::or_skip(&lints, target.provide())?.is_none() {
            continue;
        }
        let tests = (target != Target::Armhf).then_some(FOREIGN_TESTS);
        for selection in iter::once(FOREIGN).chain(tests) {
            let mut clippy = workspace.cargo(&format!("clippy --quiet {selection} --target"));
            clippy.args([target.triple(), "--", "-D", "warnings"]);
            run(&mut clippy).context(target.triple())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_made_for_debian_only() {
        assert_eq!(
            Target::debian("aarch64-unknown-linux-gnu"),
            Ok(Target::Arm64)
        );
        let refusal = Target::debian("x86_64-unknown-linux-musl").unwrap_err();
        assert!(
            refusal.contains("armv7-unknown-linux-gnueabihf"),
            "{refusal}"
        );
    }
}
