//! Anonymous network namespaces.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    panic,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace that lives as long as this value, the processes in it, and no longer:
/// only a file descriptor holds it.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new namespace with nothing in it but a loopback interface that is up.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, for instance without root.
    pub fn new() -> Result<Self> {
        // A thread of its own, because unsharing moves the thread that asks for it.
        let file = thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            File::open("/proc/thread-self/ns/net").context("cannot hold the network namespace")
        })
        .join()
        .unwrap_or_else(|cause| panic::resume_unwind(cause))?;
        let namespace = Self { file };
        namespace.ip("link set dev lo up")?;
        Ok(namespace)
    }

    /// A path that names the namespace for as long as this value lives: `ip link set dev X
    /// netns PATH` and `nsenter --net=PATH` take it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        // Not /proc/self: other processes are to resolve it.
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            process::id(),
            self.file.as_raw_fd()
        ))
    }

    /// Runs `work` on a fresh thread inside the namespace. Sockets that it makes and hands
    /// out stay in the namespace.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, and whatever `work` returns.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&self.file, CloneFlags::CLONE_NEWNET)
                        .context("cannot enter the network namespace")?;
                    work()
                })
                .join()
                .unwrap_or_else(|cause| panic::resume_unwind(cause))
        })
    }

    /// A command that runs `program` in the namespace. The program is killed when the thread
    /// that spawns it ends; what the program starts itself is its own concern.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.entered(program.as_ref(), &[])
    }

    /// Like [`command`](Self::command), but without a single capability, and as the owner of
    /// the program's file, who can certainly reach it. He has no home.
    pub fn unprivileged_command(&self, program: impl AsRef<OsStr>) -> Command {
        let program = program.as_ref();
        let mut options = vec![
            "--inh-caps=-all".to_owned(),
            "--bounding-set=-all".to_owned(),
            "--no-new-privs".to_owned(),
        ];
        if let Ok(file) = Path::new(program).metadata() {
            options.extend([
                format!("--reuid={}", file.uid()),
                format!("--regid={}", file.gid()),
                "--clear-groups".to_owned(),
            ]);
        }
        let mut command = self.entered(program, &options);
        // What the tests were started with is root's.
        command.env("HOME", "/nonexistent");
        command.env_remove("XDG_CONFIG_HOME");
        command
    }

    fn entered(&self, program: &OsStr, options: &[String]) -> Command {
        let mut net = OsString::from("--net=");
        net.push(self.path());
        let mut command = Command::new("nsenter");
        command
            .arg(net)
            // Both replace themselves, so that the child's id is the program's.
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args(options)
            .arg("--")
            .arg(program);
        command
    }

    /// Runs iproute2's `ip` with the words of `arguments` in the namespace.
    ///
    /// # Errors
    ///
    /// When it fails; the error has what it printed.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let output = self
            .command("ip")
            .args(arguments.split_whitespace())
            .output()
            .context("cannot run nsenter")?;
        ensure!(
            output.status.success(),
            "`ip {arguments}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
