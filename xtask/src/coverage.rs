//! Line coverage of all tests, with the processes that they start.
//!
//! A process that is killed, or that a sandbox keeps from opening a file, writes nothing when it
//! exits. Its counters are therefore in a file that is mapped into its memory from its start
//! ("continuous mode" in LLVM's documentation of source-based coverage).

mod lcov;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use self::lcov::Report;
use crate::{
    executables::{self, Executable},
    runner::Summary,
    setup,
    test::{kernel, unit},
    workspace::{Workspace, host, output, run},
};

/// What counts the executions of each region, in memory that can be a file. `coverage` lets the daemon
/// pass [`FILE`] on to its processes.
const FLAGS: &str = "--cfg=coverage -Cinstrument-coverage -Cllvm-args=-runtime-counter-relocation";

/// Names the file of the counters.
const FILE: &str = "LLVM_PROFILE_FILE";

/// What the tools are in for this compiler.
const COMPONENT: &str = "llvm-tools";

/// Builds and runs all tests, prints the share of the lines that they execute, and writes
/// `docs/coverage.md`.
pub(crate) fn coverage(workspace: &Workspace) -> Result<()> {
    let tools = Tools::provide(workspace)?;
    setup::setup(workspace, None)?;
    let folder = workspace.target.join("coverage");
    let profiles = folder.join("profiles");
    if profiles.exists() {
        fs::remove_dir_all(&profiles)?;
    }
    fs::create_dir_all(&profiles)?;
    let triple = host(workspace)?;
    println!("building with counters: this takes some minutes");
    let executables = build(workspace, &folder, &triple)?;
    let programs = ["knock", "knockd"].map(|name| folder.join(&triple).join("debug").join(name));
    // `%m` stands for the executable: all its processes add to one file. `%c` maps it.
    let file = profiles.join("%m%c.profraw");
    share(&programs, &profiles, &file)?;
    test(workspace, executables.iter(), &file)?;
    let objects = executables.iter().map(|executable| &executable.path);
    let objects: Vec<_> = objects.chain(&programs).collect();
    let report = tools.report(workspace, &profiles, &objects)?;
    print!("{}", report.table());
    println!(
        "lines that no test executes: {}",
        folder.join("missed").display()
    );
    fs::write(folder.join("missed"), report.missed())?;
    report.publish(&workspace.docs().join("coverage.md"))
}

fn build(workspace: &Workspace, folder: &Path, triple: &str) -> Result<Vec<Executable>> {
    // Without a target's name, the flags would also apply to build scripts.
    let mut build =
        workspace.cargo("build --workspace --all-features --tests --bin knock --bin knockd");
    build.args(["--target", triple, "--target-dir"]).arg(folder);
    build.env("RUSTFLAGS", FLAGS);
    executables::build_with(workspace, build)
}

/// Creates the files of the programs, into which processes of other users write too.
fn share(programs: &[PathBuf], profiles: &Path, file: &Path) -> Result<()> {
    for program in programs {
        run(Command::new(program).arg("--version").env(FILE, file))?;
    }
    for profile in fs::read_dir(profiles)? {
        let mode = fs::Permissions::from_mode(0o666);
        fs::set_permissions(profile?.path(), mode)?;
    }
    Ok(())
}

/// Runs the tests. What a test executes counts, also if it fails.
fn test<'a>(
    workspace: &Workspace,
    executables: impl Iterator<Item = &'a Executable>,
    file: &Path,
) -> Result<()> {
    let (kernel, unit): (Vec<_>, Vec<_>) = executables.partition(|one| kernel::needs_kernel(one));
    let mut summary = Summary::default();
    let file = (FILE, file);
    for outcome in [
        unit::run_with(&unit, Some(file), &mut summary),
        kernel::run_with(workspace, kernel, Some(file), &mut summary),
    ] {
        if let Err(error) = outcome {
            println!("{error:#}");
        }
    }
    summary.print();
    ensure!(summary.passed > 0, "no test has passed");
    println!("{} passed, {} failed", summary.passed, summary.failed);
    Ok(())
}

/// LLVM's programs for the compiler in use.
struct Tools(PathBuf);

impl Tools {
    fn provide(workspace: &Workspace) -> Result<Self> {
        run(workspace
            .command("rustup")
            .args(["component", "add", COMPONENT]))?;
        let mut rustc = workspace.command("rustc");
        let libraries = output(rustc.args(["--print", "target-libdir"]))?;
        let tools = Path::new(libraries.trim()).with_file_name("bin");
        ensure!(
            tools.join("llvm-cov").is_file(),
            "{COMPONENT} of rustup has no llvm-cov in {}",
            tools.display()
        );
        Ok(Self(tools))
    }

    /// What the processes have counted in `profiles`, as lines of the sources of `objects`.
    fn report(
        &self,
        workspace: &Workspace,
        profiles: &Path,
        objects: &[&PathBuf],
    ) -> Result<Report> {
        let merged = profiles.join("all.profdata");
        let mut merge = Command::new(self.0.join("llvm-profdata"));
        merge.args(["merge", "--sparse", "--failure-mode=all", "--output"]);
        merge.arg(&merged);
        for profile in fs::read_dir(profiles)? {
            let path = profile?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "profraw")
            {
                merge.arg(path);
            }
        }
        run(&mut merge)?;
        let (first, others) = objects.split_first().context("there is no executable")?;
        let mut export = Command::new(self.0.join("llvm-cov"));
        export.args(["export", "--format=lcov", "--skip-functions"]);
        export.arg("--instr-profile").arg(&merged).arg(first);
        for object in others {
            export.arg("--object").arg(object);
        }
        Report::read(&workspace.root, &output(&mut export)?)
    }
}
