//! A search for bytes that a parser cannot handle, with libFuzzer.
//!
//! Each target becomes a program of its own. The compiler counts in it which code an input reaches, with
//! a pass of LLVM that stable Rust has. There is no address sanitizer, which only a nightly has: the
//! parsers are safe code, except that of frames, whose target has a guard page.

mod libfuzzer;

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::libfuzzer::{Limit, Report, Run};
use crate::{
    apt::{self, Provided},
    setup,
    workspace::{FUZZ, Workspace, host, run},
};

/// What libFuzzer is compiled with.
const COMPILER: Provided = Provided {
    program: "g++",
    package: "g++",
};

/// Counters for the edges of the control flow, and calls that show libFuzzer what is compared.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// What is fuzzed, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// The time for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Run each target so often, instead of for a time
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    runs: Option<u64>,
    /// How many targets run at once; by default one on each processor
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Fuzz only these targets: the folders in tests/fuzz/corpus
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

/// Sets up and builds, then runs the targets until one fails.
pub(crate) fn fuzz(workspace: &Workspace, choice: &Choice) -> Result<()> {
    let targets = targets(workspace, &choice.targets)?;
    setup::setup(workspace, None)?;
    apt::provide(&[COMPILER])?;
    println!("building with optimisation: this takes some minutes, once");
    let folder = workspace.target.join("fuzz");
    let limit = choice
        .runs
        .map_or(Limit::Seconds(choice.seconds), Limit::Runs);
    let mut runs = VecDeque::new();
    for target in targets {
        runs.push_back(Run {
            program: build(workspace, &folder, &target)?,
            seeds: workspace.corpora().join(&target),
            corpus: folder.join("corpus").join(&target),
            artifacts: folder.join("artifacts").join(&target),
            log: folder.join(format!("{target}.log")),
            target,
        });
    }
    let jobs = choice.jobs.unwrap_or_else(processors).max(1);
    let reports = run_all(runs, limit, jobs)?;
    let total: u64 = reports.iter().map(|report| report.executions).sum();
    println!("{total} executions of {} targets", reports.len());
    Ok(())
}

/// The `chosen` targets, or all of them.
fn targets(workspace: &Workspace, chosen: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for folder in fs::read_dir(workspace.corpora())? {
        all.push(folder?.file_name().to_string_lossy().into_owned());
    }
    all.sort_unstable();
    if let Some(unknown) = chosen.iter().find(|target| !all.contains(target)) {
        bail!("there is no target {unknown}: choose of {}", all.join(", "));
    }
    Ok(if chosen.is_empty() {
        all
    } else {
        chosen.to_vec()
    })
}

/// Builds the program of `target` in `folder`, and returns its path.
fn build(workspace: &Workspace, folder: &Path, target: &str) -> Result<PathBuf> {
    let host = host(workspace)?;
    // Without a target's name, the flags would also apply to build scripts.
    let mut cargo = workspace.cargo("build --quiet --profile fuzz --bin");
    cargo.args([FUZZ, "--package", FUZZ, "--target", &host]);
    cargo.arg("--target-dir").arg(folder);
    cargo.env("RUSTFLAGS", FLAGS.join(" "));
    cargo.env("KNOCK_FUZZ_TARGET", target);
    run(&mut cargo)?;
    let programs = folder.join("programs");
    fs::create_dir_all(&programs)?;
    let program = programs.join(target);
    let built = folder.join(host).join("fuzz").join(FUZZ);
    fs::copy(&built, &program).with_context(|| format!("{}", built.display()))?;
    Ok(program)
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// Runs all, up to `jobs` at a time, and prints each report. After a failure none is started.
fn run_all(runs: VecDeque<Run>, limit: Limit, jobs: usize) -> Result<Vec<Report>> {
    let queue = Mutex::new(runs);
    let reports = Mutex::new(Vec::new());
    let next = || lock(&queue).pop_front();
    println!("{}", Report::HEAD);
    let work = || {
        while let Some(run) = next() {
            match run.execute(limit) {
                Ok(report) => {
                    println!("{report}");
                    lock(&reports).push(report);
                }
                Err(error) => {
                    lock(&queue).clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let mut outcomes = workers.into_iter().map(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        outcomes.try_for_each(|outcome| outcome)
    })?;
    let reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(!reports.is_empty(), "there is no target");
    Ok(reports)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
