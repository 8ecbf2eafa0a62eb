//! knockd on other kernels: Debian's, each booted in qemu with an initramfs that runs the checks.

mod archive;
mod boot;
mod image;
mod initramfs;
mod kernel;
mod modules;
mod nic;
mod page;
mod report;
mod userland;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    apt::{self, Provided},
    ci,
    executables::{self, Executable},
    interrupt, setup,
    workspace::{PROGRAMS, TESTS, Workspace, run},
};
pub(crate) use archive::mirror;
use boot::Guest;
use initramfs::Contents;
use kernel::{Arch, Kernel};
use modules::Modules;
use nic::Nics;
use report::Report;

/// What unpacks kernels and packs the guest's files.
const TOOLS: &[Provided] = &[
    Provided {
        program: "cpio",
        package: "cpio",
    },
    Provided {
        program: "depmod",
        package: "kmod",
    },
    Provided {
        program: "gzip",
        package: "gzip",
    },
    Provided {
        program: "lz4",
        package: "lz4",
    },
    Provided {
        program: "setpriv",
        package: "util-linux",
    },
    Provided {
        program: "xz",
        package: "xz-utils",
    },
    Provided {
        program: "zstd",
        package: "zstd",
    },
];

/// The longest that a guest may take: some machines emulate slowly.
const LIMIT: Duration = Duration::from_mins(60);
const SHORT_LIMIT: Duration = Duration::from_mins(10);

/// Which kernels are booted.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// The kernels: 6.1, 6.12, sid, 5.10, 6.1-arm64, 6.12-arm64-16k; by default all
    #[arg(value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Only the checks that `cargo xtask test` runs; publishes nothing
    #[arg(long)]
    short: bool,
    /// Run these test executables of the package knock-tests instead; publishes nothing
    #[arg(long, value_name = "TARGET", conflicts_with = "short")]
    tests: Vec<String>,
}

/// What runs in a guest.
#[derive(Debug)]
enum Scope {
    /// The daemon on a veth pair and on one network card.
    Short,
    All,
    /// The test executables of these targets.
    Tests(Vec<String>),
}

/// A kernel and its modules, unpacked.
struct Unpacked {
    folder: PathBuf,
    modules: Modules,
    image: PathBuf,
}

/// Boots the chosen kernels one after the other, prints what was found, and writes it to the book.
pub(crate) fn boot(workspace: &Workspace, choice: &Choice) -> Result<()> {
    let kernels = kernel::chosen(&choice.kernels)?;
    setup::setup(workspace, None)?;
    let scope = choice.scope();
    let mut reports = Vec::new();
    let mut skipped = Vec::new();
    for kernel in kernels {
        println!("\n=== {}", kernel.name);
        match boot_one(workspace, kernel, &scope) {
            Ok(report) => {
                report.print(kernel.name);
                if matches!(scope, Scope::All) {
                    page::update(workspace, kernel, &report)?;
                }
                reports.push((kernel, report));
            }
            Err(error) if interrupt::status().is_some() => return Err(error),
            Err(error) => {
                println!("{}: not booted: {error:#}", kernel.name);
                skipped.push((kernel, error));
            }
        }
    }
    summarize(&reports, &skipped)
}

/// Boots the kernel of the short run, for `cargo xtask test`. Where its packages cannot be had, says
/// so; with `CI` set, that is an error.
pub(crate) fn boot_short(workspace: &Workspace) -> Result<()> {
    let kernel = kernel::named(kernel::SHORT)?;
    tools()?;
    let name = format!("kernel {}", kernel.name);
    let Some(unpacked) = ci::or_skip(&name, unpack(workspace, kernel))? else {
        return Ok(());
    };
    let report = run_guest(workspace, kernel, &unpacked, &Scope::Short)?;
    report.print(kernel.name);
    report.judge()
}

impl Choice {
    fn scope(&self) -> Scope {
        match (self.short, &self.tests[..]) {
            (true, _) => Scope::Short,
            (false, []) => Scope::All,
            (false, targets) => Scope::Tests(targets.to_vec()),
        }
    }
}

impl Scope {
    /// The word of the kernel's command line that names it.
    fn word(&self) -> &'static str {
        match self {
            Self::Short => "vm_scope=short",
            Self::All => "vm_scope=all",
            Self::Tests(_) => "vm_scope=tests",
        }
    }

    fn nics(&self, arch: Arch) -> Result<Nics> {
        match self {
            Self::Short => Ok(Nics::short()),
            Self::All => Nics::all(arch.qemu()?),
            Self::Tests(_) => Ok(Nics::default()),
        }
    }

    fn limit(&self) -> Duration {
        match self {
            Self::Short => SHORT_LIMIT,
            Self::All | Self::Tests(_) => LIMIT,
        }
    }

    /// Builds the test executables that it needs.
    fn build(&self, workspace: &Workspace, arch: Arch) -> Result<Vec<Executable>> {
        let Self::Tests(targets) = self else {
            return Ok(Vec::new());
        };
        let mut arguments = format!("--package {TESTS}");
        for target in targets {
            arguments += &format!(" --test {target}");
        }
        executables::build_for(workspace, &arguments, arch.foreign()?)
    }
}

fn boot_one(workspace: &Workspace, kernel: &Kernel, scope: &Scope) -> Result<Report> {
    tools()?;
    let unpacked = unpack(workspace, kernel)?;
    build(workspace, kernel.arch)?;
    run_guest(workspace, kernel, &unpacked, scope)
}

fn tools() -> Result<()> {
    apt::provide(TOOLS)
}

/// Fetches a kernel, and unpacks its image.
fn unpack(workspace: &Workspace, kernel: &Kernel) -> Result<Unpacked> {
    let folder = workspace.target.join("vm").join(kernel.name);
    let packages = folder.join("packages");
    let Kernel {
        arch,
        package,
        suites,
        ..
    } = kernel;
    archive::provide(workspace, suites, *arch, &packages, |archive| {
        archive.kernel(package)
    })?;
    let modules = Modules::find(&packages)?;
    let image = image::bootable(&packages, modules.release(), *arch)?;
    Ok(Unpacked {
        folder,
        modules,
        image,
    })
}

/// Builds the programs for the guest.
fn build(workspace: &Workspace, arch: Arch) -> Result<()> {
    let mut cargo = workspace.cargo("build --quiet --bins --package");
    cargo.arg(PROGRAMS);
    if let Some(target) = arch.foreign()? {
        target.provide()?;
        target.build(&mut cargo);
    }
    run(&mut cargo)
}

fn run_guest(
    workspace: &Workspace,
    kernel: &Kernel,
    unpacked: &Unpacked,
    scope: &Scope,
) -> Result<Report> {
    let Unpacked {
        folder,
        modules,
        image,
    } = unpacked;
    let contents = Contents {
        tests: &scope.build(workspace, kernel.arch)?,
        has_others: matches!(scope, Scope::All),
    };
    let initramfs = initramfs::make(workspace, kernel.arch, modules, &contents, folder)?;
    let nics = scope.nics(kernel.arch)?;
    if !nics.missing.is_empty() {
        println!("skipped: this qemu has no {}", nics.missing.join(", "));
    }
    let guest = Guest {
        arch: kernel.arch,
        image,
        initramfs: &initramfs,
        nics: &nics,
        scope: scope.word(),
        limit: scope.limit(),
    };
    let report = guest.run(&folder.join("serial.log"));
    // It has a copy of every program, and is made anew each time.
    fs::remove_file(&initramfs)?;
    report
}

/// Prints a table of all kernels.
fn summarize(reports: &[(&Kernel, Report)], skipped: &[(&Kernel, anyhow::Error)]) -> Result<()> {
    println!();
    let mut failed = 0;
    for (kernel, report) in reports {
        failed += report.count().failed;
        println!(
            "{:10} {:28} {:>5.0} s  {}",
            kernel.name,
            report.kernel.split(' ').next().unwrap_or_default(),
            report.took.as_secs_f32(),
            report.count()
        );
        for nic in &report.nics {
            println!("{:10}     {:32} {}", "", nic.model, nic.mode);
        }
    }
    for (kernel, error) in skipped {
        println!("{:10} not booted: {error:#}", kernel.name);
    }
    ensure!(!reports.is_empty(), "no kernel was booted");
    ensure!(failed == 0, "{failed} checks failed");
    Ok(())
}
