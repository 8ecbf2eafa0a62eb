//! The client for Windows: its lints, and its tests, which run under wine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    apt::{self, Provided},
    ci,
    executables::{Executable, build_with},
    runner::{Job, Summary},
    targets::provide_library,
    workspace::{PROGRAMS, Workspace, output, run},
};

/// The target's name in rustup.
const TRIPLE: &str = "x86_64-pc-windows-gnu";

const COMPILER: Provided = Provided {
    program: "x86_64-w64-mingw32-gcc",
    package: "gcc-mingw-w64-x86-64",
};

/// Where Debian's package `wine64` has the loader of 64-bit programs.
const WINE64: &str = "/usr/lib/wine/wine64";

/// A library that Rust's standard library needs and wine 8 lacks, with the only function that is
/// used. For tests only.
const PROCESS_PRNG: &str = r"
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T len)
{
    return SystemFunction036(data, (ULONG)len);
}
";

/// The packages whose tests the client's consist of.
const PACKAGES: [&str; 4] = [
    "knock-common",
    "knockd-credentials",
    "knock-client",
    PROGRAMS,
];

/// The features without the daemon.
const FEATURES: &str =
    "--no-default-features --features knock-common/protocol,knock-common/passphrase";

/// How many test executables run at once, and with how many threads each. Some tests measure time.
const AT_ONCE: usize = 1;
const THREADS: usize = 2;

/// What runs programs of Windows: the folder with its configuration, and a library that it lacks.
#[derive(Debug)]
pub(crate) struct Wine {
    prefix: PathBuf,
}

/// Lints the client for Windows, builds it, and runs its tests. Where the compiler or wine cannot be
/// installed this is skipped, but not in CI.
pub(crate) fn test(workspace: &Workspace, summary: &mut Summary) -> Result<()> {
    if ci::or_skip("the client for Windows", provide())?.is_none() {
        return Ok(());
    }
    lint(workspace)?;
    let executables = build(workspace)?;
    let wine = Wine::set_up(workspace)?;
    let jobs = executables.iter().map(|executable| Job {
        name: format!("Windows: {}", executable.name()),
        command: wine.command(executable),
        exclusive: false,
    });
    summary.run(jobs.collect(), AT_ONCE, THREADS)
}

/// The same, with a summary of its own.
pub(crate) fn test_alone(workspace: &Workspace) -> Result<()> {
    let mut summary = Summary::default();
    let outcome = test(workspace, &mut summary);
    summary.print();
    println!("{} passed, {} failed", summary.passed, summary.failed);
    outcome
}

/// Installs the compiler and wine.
fn provide() -> Result<()> {
    provide_library(TRIPLE)?;
    apt::provide(&[COMPILER])?;
    match Path::new(WINE64).is_file() {
        true => Ok(()),
        false => apt::install(&["wine64"]),
    }
}

fn lint(workspace: &Workspace) -> Result<()> {
    let mut clippy = workspace.cargo("clippy --quiet --all-targets --target");
    clippy.arg(TRIPLE).args(FEATURES.split(' '));
    for package in PACKAGES {
        clippy.args(["--package", package]);
    }
    run(clippy.args(["--", "-D", "warnings"]))
}

/// Builds the client and its tests. Returns the tests.
fn build(workspace: &Workspace) -> Result<Vec<Executable>> {
    let mut build = workspace.cargo("build --tests --bins --target");
    build.arg(TRIPLE).args(FEATURES.split(' '));
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    build_with(workspace, build)
}

impl Wine {
    /// Makes a configuration of its own, which no user's programs share.
    fn set_up(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.tools().join("wine");
        let prefix = folder.join("prefix");
        let library = folder.join("bcryptprimitives.dll");
        fs::create_dir_all(&folder)?;
        if !library.is_file() {
            let source = folder.join("bcryptprimitives.c");
            fs::write(&source, PROCESS_PRNG)?;
            let mut compile = Command::new(COMPILER.program);
            compile.arg("-shared").arg("-o").arg(&library).arg(source);
            run(compile.arg("-ladvapi32"))?;
        }
        let wine = Self { prefix };
        let system = wine.prefix.join("drive_c/windows/system32");
        if !system.join("bcryptprimitives.dll").is_file() {
            println!("making a configuration of wine");
            let mut boot = Command::new(WINE64);
            wine.enter(&mut boot);
            output(boot.args(["wineboot", "--init"])).context("wine does not run here")?;
            fs::copy(&library, system.join("bcryptprimitives.dll"))?;
        }
        Ok(wine)
    }

    fn enter(&self, command: &mut Command) {
        command
            .env("WINEPREFIX", &self.prefix)
            .env("WINEARCH", "win64")
            .env("WINEDEBUG", "-all")
            // No dialogs about what is missing, and no entries in the user's menus.
            .env("WINEDLLOVERRIDES", "mscoree,mshtml,winemenubuilder.exe=")
            .env_remove("DISPLAY");
    }

    /// The command that runs `executable`.
    fn command(&self, executable: &Executable) -> Command {
        let mut command = Command::new(WINE64);
        self.enter(&mut command);
        command
            .arg(&executable.path)
            .current_dir(&executable.folder)
            .env("RUSTC_BOOTSTRAP", "1");
        command
    }
}
