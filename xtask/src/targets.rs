//! The architectures that packages are made for: compilers for those of other machines.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{
    apt::{self, Provided},
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
}

impl Target {
    /// Its name in rustup.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
            Self::Armhf => "armv7-unknown-linux-gnueabihf",
        }
    }

    /// The C compiler that links for it.
    fn linker(self) -> Provided {
        let (program, package) = match self {
            Self::Amd64 => ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
            Self::Arm64 => ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
            Self::Armhf => ("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf"),
        };
        Provided { program, package }
    }

    /// A file of the C library to link with, and its package, on which the compiler does not depend.
    fn library(self) -> (&'static str, &'static str) {
        match self {
            Self::Amd64 => ("/usr/x86_64-linux-gnu/lib/crti.o", "libc6-dev-amd64-cross"),
            Self::Arm64 => ("/usr/aarch64-linux-gnu/lib/crti.o", "libc6-dev-arm64-cross"),
            Self::Armhf => (
                "/usr/arm-linux-gnueabihf/lib/crti.o",
                "libc6-dev-armhf-cross",
            ),
        }
    }

    fn is_host(self) -> bool {
        let arch = match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
            Self::Armhf => "arm",
        };
        arch == env::consts::ARCH
    }

    /// Installs the standard library for this target.
    fn provide_library(self) -> Result<()> {
        let triple = self.triple();
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

    /// Installs what building for this target needs.
    pub(crate) fn provide(self) -> Result<()> {
        self.provide_library()?;
        apt::provide(&[self.linker()])?;
        let (file, package) = self.library();
        match self.is_host() || Path::new(file).exists() {
            true => Ok(()),
            false => apt::install(&[package]),
        }
    }

    /// Lets `cargo` build for this target.
    pub(crate) fn build(self, cargo: &mut Command) {
        let triple = self.triple().to_uppercase().replace('-', "_");
        let variable = format!("CARGO_TARGET_{triple}_LINKER");
        if env::var_os(&variable).is_none() {
            cargo.env(variable, self.linker().program);
        }
        cargo.args(["--target", self.triple()]);
    }
}

/// What is linted for other architectures: the programs and the tests with the real programs.
const FOREIGN: [&str; 2] = [
    "--workspace --lib --bins",
    "--package knock-tests --all-targets",
];

/// Lints for all architectures but this machine's. Without their standard libraries this is skipped,
/// but not in CI. The client's TLS contains C code.
pub(crate) fn lint_foreign(workspace: &Workspace) -> Result<()> {
    let foreign = Target::value_variants().iter().filter(|one| !one.is_host());
    for target in foreign {
        if let Err(error) = target.provide() {
            if env::var_os("CI").is_some() {
                return Err(error);
            }
            println!("skipped: lints for {}: {error:#}", target.triple());
            continue;
        }
        for selection in FOREIGN {
            let mut clippy = workspace.cargo(&format!("clippy --quiet {selection} --target"));
            clippy.args([target.triple(), "--", "-D", "warnings"]);
            run(&mut clippy).context(target.triple())?;
        }
    }
    Ok(())
}
