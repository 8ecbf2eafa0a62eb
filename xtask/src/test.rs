//! Every check and every test, in the order in which they are cheap.

mod kernel;
mod licences;
mod scripts;
mod unit;

use std::{panic::resume_unwind, thread};

use anyhow::Result;
use clap::Args;

use crate::{
    boundaries, docs, imports, package,
    runner::Summary,
    setup::{self, Tools, ebpf_cargo},
    steps::Steps,
    workspace::{BENCH_EBPF, EBPF, PROGRAMS, Workspace, run},
};

/// How much is tested.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Give random input as long as a release deserves
    #[arg(long)]
    long: bool,
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

const BUILDS: &[(&str, Check)] = &[
    ("lints", |workspace, _| {
        run(&mut workspace.cargo("clippy --quiet --workspace --all-targets -- -D warnings"))
    }),
    ("lints of the client without the daemon", |workspace, _| {
        let mut clippy = workspace.cargo("clippy --quiet --no-default-features --all-targets");
        run(clippy.args(["--package", PROGRAMS, "--", "-D", "warnings"]))
    }),
    ("lints of the eBPF programs, for the kernel", ebpf_lints),
    ("documentation", |workspace, _| {
        let mut doc = workspace.cargo("doc --quiet --workspace --no-deps --document-private-items");
        run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("build", |workspace, _| {
        run(&mut workspace.cargo("build --quiet"))
    }),
];

/// Sets up, then runs every check until one fails.
pub(crate) fn test(workspace: &Workspace, choice: &Choice) -> Result<()> {
    let steps = Steps::new();
    let tools = setup::setup(workspace, None)?;
    for (name, check) in SOURCE_CHECKS {
        steps.run(name, || check(workspace, &tools))?;
    }
    // The package is built with optimisation, mostly on one processor and in a folder of its own:
    // the other builds need not wait for it.
    thread::scope(|scope| {
        let package = scope.spawn(|| steps.run("package", || package::make(workspace).map(|_| ())));
        let builds = BUILDS
            .iter()
            .try_for_each(|(name, check)| steps.run(name, || check(workspace, &tools)));
        let package = package.join().unwrap_or_else(|panic| resume_unwind(panic));
        builds.and(package)
    })?;
    let mut summary = Summary::default();
    let outcome = run_tests(workspace, choice, &steps, &mut summary);
    summary.print();
    if outcome.is_ok() {
        steps.print();
    }
    println!("{} passed, {} failed", summary.passed, summary.failed);
    outcome
}

fn run_tests(
    workspace: &Workspace,
    choice: &Choice,
    steps: &Steps,
    summary: &mut Summary,
) -> Result<()> {
    steps.run("unit tests", || unit::run_all(workspace, summary))?;
    let blocks = match choice.long {
        true => 100_000_000,
        false => 10_000_000,
    };
    steps.run(
        format!("{blocks} random blocks against the sealed checks"),
        || unit::run_random_blocks(workspace, blocks, summary),
    )?;
    steps.run("tests with a kernel, in namespaces", || {
        kernel::run(workspace, summary)
    })
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
