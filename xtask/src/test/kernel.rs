//! The tests that load eBPF programs, in namespaces: built as the caller, run as root.

use std::path::Path;

use anyhow::Result;

use crate::{
    ansible,
    apt::{self, Provided},
    browsers,
    executables::Executable,
    fail2ban, firewalls, nats,
    privilege::as_root,
    runner::{Job, Summary},
    wheel,
    workspace::{BENCH, TESTS, Workspace},
};

/// What the tests of the package read it with, and what machines in namespaces boot with. The host
/// of these tests itself boots with another package.
const READERS: &[Provided] = &[
    Provided {
        program: "man",
        package: "man-db",
    },
    Provided {
        program: "zsh",
        package: "zsh",
    },
    Provided {
        program: "fish",
        package: "fish",
    },
    Provided {
        program: "systemd-analyze",
        package: "systemd",
    },
];

/// How many executables run at once, and with how many threads each. Most tests wait: for a lease
/// that expires, a process that starts, a packet that must not arrive.
const AT_ONCE: usize = 3;
const THREADS: usize = 3;

/// The targets that take longest, longest first: they start first, so that none of them is left
/// over at the end.
const LONGEST: &[&str] = &["gate", "packets", "lossy", "store", "firewall"];

/// The targets that run alone.
const EXCLUSIVE: &[&str] = &[
    // It measures how many knocks a lossy network lets through.
    "lossy",
    // A browser that gets no processor sends the SYNs of a knock too late.
    browsers::TARGET,
    // It measures rates.
    BENCH,
];

/// Runs the tests of [`TESTS`], and of [`BENCH`], which flood from the kernel.
pub(super) fn run(
    workspace: &Workspace,
    executables: &[Executable],
    summary: &mut Summary,
) -> Result<()> {
    run_with(workspace, executables.iter().collect(), None, summary)
}

/// The same, with another variable in the environment.
pub(crate) fn run_with(
    workspace: &Workspace,
    mut executables: Vec<&Executable>,
    variable: Option<(&str, &Path)>,
    summary: &mut Summary,
) -> Result<()> {
    fail2ban::provide(workspace)?;
    firewalls::provide(workspace)?;
    let optional = [
        (ansible::TESTS, ansible::provide(workspace)?),
        (wheel::TESTS, wheel::provide(workspace)?),
    ];
    let missing = optional.iter().filter(|(_, is_there)| !is_there);
    let missing: Vec<_> = missing.map(|(tests, _)| *tests).collect();
    apt::provide(READERS)?;
    if !browsers::provide()? {
        executables.retain(|executable| executable.target != browsers::TARGET);
    }
    if !nats::provide(workspace)? {
        executables.retain(|executable| !nats::TARGETS.contains(&executable.target.as_str()));
    }
    executables.sort_by_key(|executable| {
        let place = LONGEST.iter().position(|name| *name == executable.target);
        place.unwrap_or(LONGEST.len())
    });
    let jobs: Result<Vec<_>> = executables
        .iter()
        .map(|executable| job(executable, variable, &missing))
        .collect();
    summary.run(jobs?, AT_ONCE, THREADS)
}

/// Whether a package has tests that need root and a kernel.
pub(crate) fn needs_kernel(executable: &Executable) -> bool {
    [TESTS, BENCH].contains(&executable.package.as_str())
}

/// Runs `executable` without the tests whose names contain one of `missing`.
fn job(executable: &Executable, variable: Option<(&str, &Path)>, missing: &[&str]) -> Result<Job> {
    let mut command = as_root("env")?;
    if let Some((name, value)) = variable {
        command.arg(format!("{name}={}", value.display()));
    }
    // With `CI`, a test that this machine cannot run fails. `RUSTC_BOOTSTRAP` is for the harness.
    command
        .args(["CI=1", "RUSTC_BOOTSTRAP=1"])
        .arg(&executable.path)
        .current_dir(&executable.folder);
    for tests in missing {
        command.args(["--skip", tests]);
    }
    Ok(Job {
        name: executable.name(),
        command,
        exclusive: EXCLUSIVE.contains(&executable.target.as_str()),
    })
}
