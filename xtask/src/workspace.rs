//! Where things are, and running cargo and other programs there.
//!
//! Every package name and every path that xtask knows of the project is in this file.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::interrupt;

/// The package with the two programs and the metadata of the Debian package.
pub(crate) const PROGRAMS: &str = "knock-user";

/// Writes the manual pages and the completions.
pub(crate) const MANPAGES: &str = "knockd-manpages";

/// The page that lets a browser knock, its source, and the module in it.
pub(crate) const PAGE: &str = "knock-page";
pub(crate) const PAGE_SOURCE: &str = "knock-user/page/page/index.html";
pub(crate) const PAGE_MODULE: &str = "knock-page-wasm";

/// The crate that the client and the daemon share.
pub(crate) const COMMON: &str = "knock-common";

/// The client, whose core is a library for others.
pub(crate) const CLIENT: &str = "knock-client";

/// What applications are linked with, in Rust, C and Python.
pub(crate) const LIBRARIES: [&str; 3] = [CLIENT, "knock-ffi", "knock-python"];

/// The eBPF program that knockd loads.
pub(crate) const EBPF: &str = "knock-ebpf";

/// The benchmarks, and the eBPF programs that only they load.
pub(crate) const BENCH: &str = "knock-bench";
pub(crate) const BENCH_EBPF: &str = "knock-bench-ebpf";

/// The tests that need root and a kernel.
pub(crate) const TESTS: &str = "knock-tests";

/// The fuzzing targets.
pub(crate) const FUZZ: &str = "knock-fuzz";

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

    /// What cargo knows of the workspace's packages and of all their dependencies.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        let mut metadata = MetadataCommand::new();
        metadata.manifest_path(self.root.join("Cargo.toml"));
        Ok(metadata.exec()?)
    }

    /// Where `setup` installs programs for the build; its subfolder `bin` holds them.
    /// The build scripts look for this folder.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A program of this project, as the last build left it.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }

    /// The folder of the package [`PROGRAMS`].
    pub(crate) fn programs(&self) -> PathBuf {
        self.root.join("knock-user")
    }

    /// A folder of files that are shipped beside the programs: `debian`, `firewall`, …
    pub(crate) fn packaging(&self, folder: &str) -> PathBuf {
        self.programs().join("packaging").join(folder)
    }

    /// A firewall script that is shipped with the daemon.
    pub(crate) fn firewall(&self, name: &str) -> PathBuf {
        self.packaging("firewall").join(name)
    }

    /// The manifest of the module for Python.
    pub(crate) fn python(&self) -> PathBuf {
        self.programs().join("python").join("Cargo.toml")
    }

    /// The folder of the package [`TESTS`].
    pub(crate) fn tests(&self) -> PathBuf {
        self.root.join("tests")
    }

    /// The inputs that fuzzing starts from, with a folder for each target.
    pub(crate) fn corpora(&self) -> PathBuf {
        self.tests().join("fuzz").join("corpus")
    }

    /// The scripts that run in a guest, on another kernel.
    pub(crate) fn guest(&self) -> PathBuf {
        self.tests().join("vm")
    }

    /// The book.
    pub(crate) fn docs(&self) -> PathBuf {
        self.root.join("docs")
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

    /// `path` as it is named in messages: relative to the root.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// The name of this machine's platform in rustup.
///
/// # Errors
///
/// Returns an error if there is no rustc.
pub(crate) fn host(workspace: &Workspace) -> Result<String> {
    let version: &mut Command = &mut workspace.command("rustc");
    let version = output(version.arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

/// Runs `command` to its end.
///
/// # Errors
///
/// Returns an error if it cannot be started or does not succeed.
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
/// Returns an error, with what the command printed on standard error, if it cannot be started or
/// does not succeed.
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
