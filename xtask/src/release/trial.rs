//! The files of a release, tried where they are meant to run: on systems that debootstrap makes, in
//! empty root directories, and in an emulator of another architecture.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    apt::{self, Provided},
    executables,
    privilege::as_root,
    runner::{Job, Summary},
    vm,
    workspace::{TESTS, Workspace, run},
};

const TOOLS: &[Provided] = &[
    Provided {
        program: "debootstrap",
        package: "debootstrap",
    },
    Provided {
        program: "qemu-aarch64-static",
        package: "qemu-user-static",
    },
    Provided {
        program: "rpm",
        package: "rpm",
    },
];

/// The releases of Debian on which the packages are installed.
const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// Where Debian is if this machine does not know.
const MIRROR: &str = "http://deb.debian.org/debian";

/// Runs the tests that use the files of the release.
pub(super) fn run_all(workspace: &Workspace) -> Result<()> {
    apt::provide(TOOLS)?;
    let roots = workspace.target.join("release-roots");
    fs::create_dir_all(&roots)?;
    for suite in SUITES {
        provide_system(suite, &roots.join(suite)).with_context(|| format!("Debian {suite}"))?;
    }
    run(&mut workspace.cargo("build --quiet --package knock-user"))?;
    let tests = executables::build(workspace, &format!("--package {TESTS} --test release"))?;
    let mut summary = Summary::default();
    let jobs = tests.iter().map(|test| {
        let mut command = as_root("env")?;
        command.args(["CI=1", "RUSTC_BOOTSTRAP=1"]).arg(&test.path);
        command.arg("--ignored").current_dir(&test.folder);
        Ok(Job {
            name: test.name(),
            command,
            exclusive: true,
        })
    });
    let outcome = summary.run(jobs.collect::<Result<_>>()?, 1, 1);
    summary.print();
    println!("{} passed, {} failed", summary.passed, summary.failed);
    outcome
}

/// Makes a small system in `root`, unless an earlier call has. Its files belong to root.
fn provide_system(suite: &str, root: &Path) -> Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    println!("fetching Debian {suite}");
    let unfinished = root.with_extension("unfinished");
    run(as_root("rm")?.args(["-rf", "--"]).arg(&unfinished))?;
    let mut debootstrap = as_root("debootstrap")?;
    debootstrap.args(["--variant=minbase", "--include=systemd", suite]);
    debootstrap.arg(&unfinished);
    debootstrap.arg(vm::mirror().unwrap_or_else(|| MIRROR.to_owned()));
    run(&mut debootstrap)?;
    run(as_root("mv")?.arg(&unfinished).arg(root))
}
