//! The tests that load eBPF programs, in namespaces: built as the caller, run as root.

use anyhow::Result;

use crate::{
    apt::{self, Provided},
    executables::{Executable, build},
    fail2ban,
    privilege::as_root,
    runner::{Job, Summary},
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
const THREADS: usize = 2;

/// The executables that run alone, by their names in `tests/tests` or their package.
const EXCLUSIVE: &[&str] = &[
    // It measures loss and delay.
    "lossy", // It measures rates.
    BENCH,
];

/// Runs the tests of [`TESTS`], and of [`BENCH`], which flood from the kernel.
pub(super) fn run(workspace: &Workspace, summary: &mut Summary) -> Result<()> {
    fail2ban::provide(workspace)?;
    apt::provide(READERS)?;
    let executables = build(workspace, &format!("--package {TESTS} --package {BENCH}"))?;
    let jobs: Result<Vec<_>> = executables.into_iter().map(job).collect();
    summary.run(jobs?, AT_ONCE, THREADS)
}

fn job(executable: Executable) -> Result<Job> {
    let mut command = as_root("env")?;
    // With `CI`, a test that this machine cannot run fails. `RUSTC_BOOTSTRAP` is for the harness.
    command
        .args(["CI=1", "RUSTC_BOOTSTRAP=1"])
        .arg(&executable.path);
    command.current_dir(&executable.folder);
    let exclusive = EXCLUSIVE
        .iter()
        .any(|name| executable.name.split(' ').any(|word| word == *name));
    Ok(Job {
        name: executable.name,
        command,
        exclusive,
    })
}
