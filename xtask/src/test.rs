//! Every check and every test, in the order in which they are cheap.

pub(crate) mod kernel;
mod licences;
mod scripts;
pub(crate) mod unit;

use std::{panic::resume_unwind, thread};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    boundaries, ci, docs,
    executables::{Executable, build_all},
    imports,
    package::{self, Profile},
    public_api, release,
    runner::Summary,
    setup::{self, Tools, ebpf_cargo, wasm_clippy},
    steps::Steps,
    targets::{self, Kind, Target},
    vm, windows,
    workspace::{BENCH_EBPF, EBPF, LIBRARIES, PAGE_MODULE, PROGRAMS, Workspace, run},
};

/// How much is tested.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Give random input as long as a release deserves
    #[arg(long)]
    long: bool,
    /// Only build, and run the tests that need a kernel
    #[arg(long, conflicts_with = "long")]
    kernel: bool,
}

type Check = fn(&Workspace, &Tools) -> Result<()>;

/// What needs no build of the project.
const SOURCE_CHECKS: &[(&str, Check)] = &[
    ("format", |workspace, _| {
        run(&mut workspace.cargo("fmt --all --check"))
    }),
    ("scripts (shellcheck)", |workspace, _| {
        scripts::check(workspace)
    }),
    ("import circles", |workspace, _| imports::check(workspace)),
    ("dependencies between crates", |workspace, _| {
        boundaries::check(workspace)
    }),
    (
        "links and code samples of the documentation",
        |workspace, _| docs::check(workspace),
    ),
    ("book", |workspace, _| docs::build_if_possible(workspace)),
    ("licences and advisories (cargo deny)", |workspace, _| {
        licences::check(workspace)
    }),
];

/// What is compiled only to be checked.
const LINTS: &[(&str, Check)] = &[
    ("lints", |workspace, _| {
        run(&mut workspace.cargo("clippy --quiet --workspace --all-targets -- -D warnings"))
    }),
    ("lints of the client without the daemon", |workspace, _| {
        let mut clippy = workspace.cargo("clippy --quiet --no-default-features --all-targets");
        run(clippy.args(["--package", PROGRAMS, "--", "-D", "warnings"]))
    }),
    ("lints of the daemon without fleets", |workspace, _| {
        let mut clippy = workspace.cargo("clippy --quiet --no-default-features --bins");
        clippy.args(["--features", "daemon", "--package", PROGRAMS]);
        run(clippy.args(["--", "-D", "warnings"]))
    }),
    (
        "lints of the libraries without the program",
        |workspace, _| {
            let mut clippy = workspace.cargo("clippy --quiet --no-default-features --lib");
            for package in LIBRARIES {
                clippy.args(["--package", package]);
            }
            run(clippy.args(["--", "-D", "warnings"]))
        },
    ),
    ("lints of the eBPF programs, for the kernel", ebpf_lints),
    (
        "lints of the page's module, for WebAssembly",
        |workspace, tools| {
            let mut clippy = wasm_clippy(workspace, tools);
            run(clippy.args(["--package", PAGE_MODULE, "--", "-D", "warnings"]))
        },
    ),
    ("lints for other architectures", |workspace, _| {
        targets::lint_foreign(workspace)
    }),
    ("documentation", |workspace, _| {
        let mut doc = workspace.cargo("doc --quiet --workspace --no-deps --document-private-items");
        run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("public interfaces", public_api::check),
];

/// Sets up, then runs every check until one fails.
pub(crate) fn test(workspace: &Workspace, choice: &Choice) -> Result<()> {
    let steps = Steps::new();
    let tools = setup::setup(workspace, None)?;
    let mut summary = Summary::default();
    let run = Run {
        workspace,
        steps: &steps,
    };
    let outcome = match choice.kernel {
        true => run.kernel(&mut summary),
        false => run.all(choice, &tools, &mut summary),
    };
    summary.print();
    if outcome.is_ok() {
        steps.print();
    }
    println!("{} passed, {} failed", summary.passed, summary.failed);
    outcome
}

struct Run<'a> {
    workspace: &'a Workspace,
    steps: &'a Steps,
}

impl Run<'_> {
    fn kernel(&self, summary: &mut Summary) -> Result<()> {
        let (kernel, _) = self.build()?;
        self.kernel_tests(&kernel, summary)
    }

    fn all(&self, choice: &Choice, tools: &Tools, summary: &mut Summary) -> Result<()> {
        let Self { workspace, steps } = self;
        for (name, check) in SOURCE_CHECKS {
            steps.run(name, || check(workspace, tools))?;
        }
        // Only a long run builds the package as it is shipped: that takes as long as everything else.
        let profile = if choice.long {
            Profile::Release
        } else {
            Profile::Dev
        };
        // In a folder of its own, and mostly on one processor: the other builds need not wait.
        let (kernel, unit) = thread::scope(|scope| {
            let release = scope.spawn(|| match profile {
                Profile::Release => steps.run("build of the package", || {
                    release::install_tools(workspace)?;
                    package::build(workspace, None)
                }),
                Profile::Dev => {
                    steps.run("tools of the package", || release::install_tools(workspace))
                }
            });
            let built = LINTS
                .iter()
                .try_for_each(|(name, check)| steps.run(name, || check(workspace, tools)))
                .and_then(|()| self.build());
            release
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))?;
            built
        })?;
        steps.run("package", || {
            package::assemble(workspace, None, profile).map(|_| ())
        })?;
        steps.run("unit tests", || unit::run_all(workspace, &unit, summary))?;
        steps.run("the client for Windows, under wine", || {
            windows::test(workspace, summary)
        })?;
        steps.run(
            "random blocks and datagrams against the checks of knocks",
            || unit::run_random_blocks(workspace, &unit, choice.long, summary),
        )?;
        self.kernel_tests(&kernel, summary)
    }

    /// Builds all programs and tests. Returns first the tests that need a kernel.
    fn build(&self) -> Result<(Vec<Executable>, Vec<Executable>)> {
        let mut executables = Vec::new();
        self.steps.run("build", || {
            executables = build_all(self.workspace)?;
            Ok(())
        })?;
        Ok(executables.into_iter().partition(kernel::needs_kernel))
    }

    /// Builds the static programs, which a test runs. Without their standard library it is skipped, but
    /// not in CI.
    fn build_static(&self) -> Result<()> {
        let target =
            Target::of_host(Kind::Static).context("there is no static target for this machine")?;
        if ci::or_skip("static programs", target.provide())?.is_none() {
            return Ok(());
        }
        let mut cargo = self.workspace.cargo("build --quiet --bins --package");
        cargo.arg(PROGRAMS);
        target.build(&mut cargo);
        run(&mut cargo)
    }

    fn kernel_tests(&self, executables: &[Executable], summary: &mut Summary) -> Result<()> {
        self.steps.run("static programs", || self.build_static())?;
        self.steps.run("tests with a kernel, in namespaces", || {
            kernel::run(self.workspace, executables, summary)
        })?;
        self.steps
            .run("another kernel, in qemu", || vm::boot_short(self.workspace))
    }
}

fn ebpf_lints(workspace: &Workspace, tools: &Tools) -> Result<()> {
    let mut clippy = ebpf_cargo(workspace, tools)?;
    clippy.args(["clippy", "--quiet", "--release"]);
    clippy.args(["--package", EBPF, "--package", BENCH_EBPF]);
    clippy.args(["--target", "bpfel-unknown-none", "--target-dir"]);
    clippy.arg(workspace.tools().join("ebpf-lints"));
    if tools.builds_core() {
        clippy.args(["-Z", "build-std=core"]);
    }
    clippy.args(["--", "-D", "warnings"]);
    run(&mut clippy)
}
