//! The programs and the test executables that cargo builds.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use cargo_metadata::{Artifact, Message, Metadata};

use crate::{
    interrupt,
    targets::Target,
    workspace::{MANPAGES, Workspace},
};

/// A test executable.
#[derive(Debug)]
pub(crate) struct Executable {
    pub(crate) path: PathBuf,
    pub(crate) package: String,
    pub(crate) target: String,
    /// Whether it is one of those in `tests`, not the unit tests of a library or a program.
    pub(crate) is_integration: bool,
    /// The folder of its package, in which it is run.
    pub(crate) folder: PathBuf,
}

impl Executable {
    pub(crate) fn name(&self) -> String {
        match self.package == self.target || self.target == self.package.replace('-', "_") {
            true => self.package.clone(),
            false => format!("{} {}", self.package, self.target),
        }
    }

    /// The command that runs it as the caller.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder);
        // For the options of the harness; the executable itself is built without.
        command.env("RUSTC_BOOTSTRAP", "1");
        command
    }
}

/// Builds the programs and all tests of the workspace. In one call, so that dependencies are
/// built once, with the features that all of them need together.
pub(crate) fn build_all(workspace: &Workspace) -> Result<Vec<Executable>> {
    let programs = ["knock", "knockd", MANPAGES];
    let arguments = format!(
        "--workspace --all-features --tests {}",
        programs.map(|name| format!("--bin {name}")).join(" ")
    );
    build(workspace, &arguments)
}

/// Builds what `cargo build` with these arguments builds. Returns the test executables.
///
/// # Errors
///
/// Returns an error if the build fails or there are no tests in it.
pub(crate) fn build(workspace: &Workspace, arguments: &str) -> Result<Vec<Executable>> {
    build_for(workspace, arguments, None)
}

/// Like [`build`], for a `target` that is not this machine's own.
///
/// # Errors
///
/// Returns the errors of [`build`].
pub(crate) fn build_for(
    workspace: &Workspace,
    arguments: &str,
    target: Option<Target>,
) -> Result<Vec<Executable>> {
    let mut build = workspace.cargo("build");
    build.args(arguments.split_whitespace());
    if let Some(target) = target {
        target.build(&mut build);
    }
    build_with(workspace, build)
}

/// Builds what `build`, a call of `cargo build`, builds.
///
/// # Errors
///
/// Returns the errors of [`build`].
pub(crate) fn build_with(workspace: &Workspace, mut build: Command) -> Result<Vec<Executable>> {
    let metadata = workspace.metadata()?;
    build.args(["--quiet", "--message-format=json-render-diagnostics"]);
    let output = interrupt::wait(build.stdout(Stdio::piped()))?;
    ensure!(output.status.success(), "the build failed");
    let mut executables = Vec::new();
    for message in Message::parse_stream(&output.stdout[..]) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.profile.test
        {
            executables.extend(executable(artifact, &metadata));
        }
    }
    ensure!(!executables.is_empty(), "cargo built no tests");
    executables.sort_by_key(Executable::name);
    Ok(executables)
}

fn executable(artifact: Artifact, metadata: &Metadata) -> Option<Executable> {
    let manifest = artifact.manifest_path.as_std_path();
    Some(Executable {
        path: artifact.executable?.into(),
        package: metadata[&artifact.package_id].name.to_string(),
        is_integration: artifact.target.is_test(),
        target: artifact.target.name,
        folder: manifest.parent().unwrap_or(Path::new("")).to_owned(),
    })
}
