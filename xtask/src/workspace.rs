//! Where things are, and running cargo and other programs there.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::MetadataCommand;

use crate::interrupt;

/// The project's folders.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .no_deps()
            .exec()?;
        Ok(Self {
            root: metadata.workspace_root.into(),
            target: metadata.target_directory.into(),
        })
    }

    /// The project that this program was built from, and its target directory.
    pub(crate) fn built_in(target: &Path) -> Self {
        Self {
            root: Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(""),
            target: target.to_owned(),
        }
    }

    /// Where `setup` installs programs for the build; its subfolder `bin` holds them.
    /// knock-user's build script looks for this folder.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A program of this project, as the last build left it.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }

    /// A file that is shipped with the daemon.
    pub(crate) fn firewall(&self, name: &str) -> PathBuf {
        self.root.join("knock-user").join("firewall").join(name)
    }

    /// cargo in the project's root, with the words of `arguments`.
    pub(crate) fn cargo(&self, arguments: &str) -> Command {
        let mut cargo = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(arguments.split_whitespace());
        cargo
    }

    /// A program in the project's root.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }
}

/// Runs `command` to its end.
///
/// # Errors
///
/// It cannot be started, or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = interrupt::wait(command)
        .with_context(|| name(command))?
        .status;
    ensure!(status.success(), "{} failed: {status}", name(command));
    Ok(())
}

/// What `command` prints on its standard output.
///
/// # Errors
///
/// It cannot be started, or does not succeed; what it said is in the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = interrupt::wait(command).with_context(|| name(command))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        name(command),
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    format!("`{}`", words.join(" "))
}

/// Whether the shell would find `program`, also as root.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|folder| Path::is_file(&folder.join(program)))
}
