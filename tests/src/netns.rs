//! Anonymous namespaces: a network and a bpf filesystem that nobody else sees.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    panic,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

/// Where the bpf filesystem is mounted by convention.
const BPFFS: &str = "/sys/fs/bpf";

/// A network namespace, and a mount namespace that differs from the host's in what is pinned.
/// They live as long as this value and the processes in them, and no longer: only file
/// descriptors hold them.
#[derive(Debug)]
pub struct Namespace {
    net: File,
    mount: File,
}

impl Namespace {
    /// A new namespace with nothing in it but a loopback interface that is up, and an empty
    /// bpf filesystem at its usual place.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, for instance without root.
    pub fn new() -> Result<Self> {
        Self::with("bpf")
    }

    /// Like [`new`](Self::new), but as on a host where nobody has mounted a bpf filesystem.
    ///
    /// # Errors
    ///
    /// Like [`new`](Self::new).
    pub fn without_bpffs() -> Result<Self> {
        Self::with("tmpfs")
    }

    /// A new namespace with a new filesystem of type `pins` where pins go.
    fn with(pins: &'static str) -> Result<Self> {
        // A thread of its own, because unsharing moves the thread that asks for it.
        let namespace = thread::spawn(move || Self::unshared(pins))
            .join()
            .unwrap_or_else(|cause| panic::resume_unwind(cause))?;
        namespace.ip("link set dev lo up")?;
        Ok(namespace)
    }

    /// Moves this thread into a new namespace and holds that.
    fn unshared(pins: &str) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .context("cannot make a namespace")?;
        // Otherwise the next mount would be one of the host's, too.
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .context("cannot keep mounts private")?;
        mount(
            Some(pins),
            BPFFS,
            Some(pins),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            Some("mode=0700"),
        )
        .with_context(|| format!("cannot mount a {pins} filesystem at {BPFFS}"))?;
        let hold = |path| File::open(path).context("cannot hold the namespace");
        Ok(Self {
            net: hold("/proc/thread-self/ns/net")?,
            mount: hold("/proc/thread-self/ns/mnt")?,
        })
    }

    /// A path that names the network namespace for as long as this value lives: `ip link set
    /// dev X netns PATH` and `nsenter --net=PATH` take it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        path(&self.net)
    }

    /// Runs `work` on a fresh thread inside the namespace. Sockets that it makes and hands
    /// out stay in the namespace, and so does what it pins.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, and whatever `work` returns.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter()?;
                    work()
                })
                .join()
                .unwrap_or_else(|cause| panic::resume_unwind(cause))
        })
    }

    /// Moves this thread into the namespace for good; its working directory stays.
    fn enter(&self) -> Result<()> {
        let folder = env::current_dir().context("there is no working directory")?;
        setns(&self.net, CloneFlags::CLONE_NEWNET).context("cannot enter the network namespace")?;
        // Threads share their root and working directory, which the next step changes.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&self.mount, CloneFlags::CLONE_NEWNS).context("cannot enter the mount namespace")?;
        env::set_current_dir(&folder)
            .with_context(|| format!("{} is not in the namespace", folder.display()))
    }

    /// A command that runs `program` in the namespace, in the working directory of now. The
    /// program is killed when the thread that spawns it ends; what the program starts itself
    /// is its own concern.
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
        let mut command = Command::new("nsenter");
        for (option, value) in [
            ("--net=", path(&self.net)),
            ("--mount=", path(&self.mount)),
            // Entering moves to the root. Without a working directory that is the place.
            ("--wdns=", env::current_dir().unwrap_or_else(|_| "/".into())),
        ] {
            let mut argument = OsString::from(option);
            argument.push(value);
            command.arg(argument);
        }
        command
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

/// A path by which every process finds what `file` is open on.
fn path(file: &File) -> PathBuf {
    // Not /proc/self: other processes are to resolve it.
    PathBuf::from(format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd()))
}
