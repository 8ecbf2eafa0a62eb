//! The project's own tooling.
//!
//! `cargo xtask setup` installs what the build needs, `demo` shows knockd at work, `check` runs the
//! quick checks and `test` all of them, `bench` measures, `docs` builds the book, `picture` records
//! the demo for it, `vm` boots other kernels, `fuzz` searches for bytes that a parser cannot handle,
//! `mutants` for code that could be wrong without a test noticing it, `coverage` finds the lines that
//! no test executes, `browsers` counts the knocks of browsers that arrive, `fleet` measures a fleet and
//! `fleet-sizing` simulates large ones, `api` lists what is public of the crates for others, `wheel`
//! makes the package for Python, `package` the one for Debian, and `release` everything that a release
//! consists of.
//! What needs root runs as root, with sudo for an ordinary user. Everything is built as the caller.

mod ansible;
mod apt;
mod bench;
mod boundaries;
mod browsers;
mod changes;
mod check;
mod ci;
mod coverage;
mod demo;
mod docs;
mod emulated;
mod executables;
mod fail2ban;
mod figures;
mod firewalls;
mod fuzz;
mod imports;
mod interrupt;
mod mutants;
mod nats;
mod package;
mod peers;
mod picture;
mod privilege;
mod public_api;
mod python;
mod release;
mod reproducible;
mod runner;
mod setup;
mod sizing;
mod steps;
mod targets;
mod test;
mod tools;
mod vm;
mod wheel;
mod windows;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The project's own tooling
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what building needs: a compiler for the eBPF programs and their linker
    Setup {
        /// Where the compiler comes from; by default the first that works
        #[arg(long, value_enum)]
        toolchain: Option<setup::Route>,
    },
    /// Show a knock, from the SYNs to the opened and closed door, in network namespaces
    Demo(demo::Choice),
    /// Make a Debian package and a tarball in target/package
    Package {
        /// Make it for another architecture, in target/TRIPLE/package
        #[arg(long, value_parser = targets::Target::debian, value_name = "TRIPLE")]
        target: Option<targets::Target>,
    },
    /// Make everything that a release consists of, in target/release-files
    Release(release::Choice),
    /// Run every check and every test, as CI does
    Test(test::Choice),
    /// Run the checks that take less than a minute: format, structure, lints, unit tests
    Check {
        /// Test all packages, not only those that have changed
        #[arg(long)]
        all: bool,
    },
    /// Run the demo, and write docs/demo-light.svg and docs/demo-dark.svg from its output
    Picture,
    /// Check the documentation, and build the book in target/docs
    Docs,
    /// Look for import circles, and for dependencies between crates that are not allowed
    Structure,
    /// Write what is public of the crates for others to their files public-api.txt
    Api,
    /// Measure what knockd costs, and its peers, and publish the figures
    Bench(bench::Choice),
    /// Search for bytes that a parser cannot handle, with libFuzzer
    Fuzz(fuzz::Choice),
    /// Search for code that could be wrong without a test noticing it, with cargo-mutants
    Mutants(mutants::Choice),
    /// Run all tests with counters, and write the share of executed lines to docs/coverage.md
    Coverage,
    /// Lint, build and test the client for Windows, which runs under wine
    Windows,
    /// Run the unit tests for arm64 and armhf, in an emulator
    Emulated(emulated::Choice),
    /// Build the wheel for Python, for this machine, in target/wheels
    Wheel,
    /// Knock a hundred times from each browser, and print how many knocks opened the door
    Browsers,
    /// Simulate fleets of several sizes, and print what each asks of its engine and its nodes
    FleetSizing,
    /// Measure a fleet of three nodes on three servers, and print the figures
    Fleet,
    /// Boot knockd on other kernels in qemu, and check it there
    Vm(vm::Choice),
}

fn main() -> ExitCode {
    match run(&Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match interrupt::status() {
            Some(status) => {
                eprintln!("xtask: interrupted");
                ExitCode::from(status)
            }
            None => {
                eprintln!("xtask: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn run(task: &Task) -> anyhow::Result<()> {
    // Root, which runs this part for a user, may have no cargo.
    if let Task::Demo(choice) = task
        && let Some(target) = &choice.built
    {
        return match choice.fleet {
            true => demo::fleet::show(),
            false => demo::show(&Workspace::built_in(target)),
        };
    }
    interrupt::pass_on()?;
    let workspace = Workspace::find()?;
    match task {
        Task::Setup { toolchain } => setup::setup(&workspace, *toolchain).map(|_| ()),
        Task::Demo(choice) => demo::build_and_show(&workspace, choice),
        Task::Package { target } => package::package(&workspace, *target),
        Task::Release(choice) => release::release(&workspace, choice),
        Task::Test(choice) => test::test(&workspace, choice),
        Task::Check { all } => check::check(&workspace, *all),
        Task::Picture => picture::record(&workspace),
        Task::Docs => docs::docs(&workspace),
        Task::Structure => {
            imports::check(&workspace)?;
            boundaries::check(&workspace)
        }
        Task::Api => public_api::write(&workspace, &setup::setup(&workspace, None)?),
        Task::Bench(choice) => bench::bench(&workspace, choice),
        Task::Fuzz(choice) => fuzz::fuzz(&workspace, choice),
        Task::Mutants(choice) => mutants::mutants(&workspace, choice),
        Task::Coverage => coverage::coverage(&workspace),
        Task::Windows => windows::test_alone(&workspace),
        Task::Emulated(choice) => emulated::test(&workspace, choice),
        Task::Wheel => wheel::build(&workspace),
        Task::Browsers => browsers::measure(&workspace),
        Task::FleetSizing => sizing::print(),
        Task::Fleet => nats::measure(&workspace),
        Task::Vm(choice) => vm::boot(&workspace, choice),
    }
}
