//! Tests that need neither root nor a kernel of their own.

use std::{collections::BTreeSet, fs, io, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    apt::{self, Provided},
    executables::{Executable, build},
    runner::{Job, Summary},
    workspace::{COMMON, Workspace, run},
};

/// What a test of the library for C compiles as C++ with.
const CPP: Provided = Provided {
    program: "c++",
    package: "g++",
};

/// How many executables run at once. Each has as many threads as the machine has processors.
const AT_ONCE: usize = 2;

/// Runs `executables`, and the examples in the documentation of all packages.
pub(super) fn run_all(
    workspace: &Workspace,
    executables: &[Executable],
    summary: &mut Summary,
) -> Result<()> {
    run_with(&executables.iter().collect::<Vec<_>>(), None, summary)?;
    run_examples(workspace, executables)
}

/// Runs `executables`, with another variable in the environment.
pub(crate) fn run_with(
    executables: &[&Executable],
    variable: Option<(&str, &Path)>,
    summary: &mut Summary,
) -> Result<()> {
    apt::provide(&[CPP])?;
    let jobs = executables.iter().map(|executable| {
        let mut command = executable.command();
        command.envs(variable);
        Job {
            name: executable.name(),
            command,
            exclusive: false,
        }
    });
    summary.run(jobs.collect(), AT_ONCE, threads())
}

/// Runs the examples in the documentation of those packages that have any. rustdoc would compile all
/// packages to find that most have none.
fn run_examples(workspace: &Workspace, executables: &[Executable]) -> Result<()> {
    let mut packages = BTreeSet::new();
    for executable in executables {
        if has_examples(&executable.folder.join("src"))? {
            packages.insert(&executable.package);
        }
    }
    if packages.is_empty() {
        println!("no package has an example in its documentation");
        return Ok(());
    }
    let mut test = workspace.cargo("test --quiet --doc --all-features");
    for package in packages {
        test.args(["--package", package]);
    }
    run(&mut test)
}

/// Whether a Rust file below `folder` has a code block in a documentation comment, other than one
/// that is marked as text.
fn has_examples(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = if path.is_dir() {
            has_examples(&path)?
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            opens_example(&fs::read_to_string(&path)?)
        } else {
            false
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn opens_example(source: &str) -> bool {
    let mut is_inside = false;
    source.lines().any(|line| {
        let line = line.trim_start();
        let comment = line.strip_prefix("///").or(line.strip_prefix("//!"));
        let fence = comment.and_then(|comment| comment.trim_start().strip_prefix("```"));
        let Some(language) = fence else { return false };
        is_inside = !is_inside;
        is_inside && language != "text"
    })
}

/// The target of [`COMMON`] that gives random blocks to the checks of knocks.
const RANDOM_BLOCKS: &str = "random_blocks";

/// How many of them a short run gives, and a long one, which is optimised.
const SHORT: &str = "2000000";
const LONG: &str = "100000000";

/// Gives random blocks and datagrams to the checks of knocks: with one of the `executables`, or for
/// longer with one that is built with optimisation.
pub(super) fn run_random_blocks(
    workspace: &Workspace,
    executables: &[Executable],
    is_long: bool,
    summary: &mut Summary,
) -> Result<()> {
    let optimised;
    let (executables, blocks) = if is_long {
        let test =
            format!("--release --package {COMMON} --features protocol --test {RANDOM_BLOCKS}");
        optimised = build(workspace, &test)?;
        (optimised.as_slice(), LONG)
    } else {
        (executables, SHORT)
    };
    let executable = executables.iter().find(|one| one.target == RANDOM_BLOCKS);
    let executable = executable.context("the test with random blocks was not built")?;
    let mut command = executable.command();
    command.env("KNOCK_BLOCKS", blocks).arg("--ignored");
    let job = Job {
        command,
        name: format!("{} with {blocks}", executable.name()),
        exclusive: false,
    };
    summary.run(vec![job], 1, 1)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

#[cfg(test)]
mod tests {
    use super::opens_example;

    #[test]
    fn only_code_blocks_in_documentation_are_examples() {
        for example in ["/// ```\n/// f();\n/// ```", "    //! ```no_run\n//! ```"] {
            assert!(opens_example(example), "{example}");
        }
        for other in [
            "//! ```text\n//! a picture\n//! ```",
            "// ```\n// f();\n// ```",
            "let fence = \"```\";",
        ] {
            assert!(!opens_example(other), "{other}");
        }
    }
}
