//! The test executables that cargo builds.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use cargo_metadata::Message;

use crate::{interrupt, workspace::Workspace};

/// A test executable.
#[derive(Debug)]
pub(crate) struct Executable {
    pub(crate) path: PathBuf,
    /// What it tests: its package and its target.
    pub(crate) name: String,
    /// The folder of its package, in which it is run.
    pub(crate) folder: PathBuf,
}

impl Executable {
    /// The command that runs it as the caller.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder);
        // For the options of the harness; the executable itself is built without.
        command.env("RUSTC_BOOTSTRAP", "1");
        command
    }
}

/// Builds what `cargo test` with these arguments would run.
///
/// # Errors
///
/// Returns an error if the build fails or there is nothing to run.
pub(crate) fn build(workspace: &Workspace, arguments: &str) -> Result<Vec<Executable>> {
    let mut build =
        workspace.cargo("test --quiet --no-run --message-format=json-render-diagnostics");
    build.args(arguments.split_whitespace());
    let output = interrupt::wait(build.stdout(Stdio::piped()))?;
    ensure!(output.status.success(), "the tests cannot be built");
    let mut executables = Vec::new();
    for message in Message::parse_stream(&output.stdout[..]) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.profile.test
            && let Some(path) = artifact.executable
        {
            let manifest = artifact.manifest_path.as_std_path();
            let folder = manifest.parent().unwrap_or(Path::new("")).to_owned();
            let package = workspace.relative(&folder).display().to_string();
            executables.push(Executable {
                path: path.into(),
                name: format!("{package} {}", artifact.target.name),
                folder,
            });
        }
    }
    ensure!(!executables.is_empty(), "cargo built no tests");
    Ok(executables)
}
