//! Anonymous namespaces: a private network and a private bpf filesystem.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
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

/// The user of the daemon's unprivileged processes, and its number where the machine has no such
/// user.
const USER: &str = "knockd";
const USER_ID: u32 = 64_110;

/// The conventional mount point of the bpf filesystem.
const BPFFS: &str = "/sys/fs/bpf";

/// A network namespace and a mount namespace with its own bpf filesystem. Only file descriptors
/// refer to them, so they exist as long as this value or a process in them.
#[derive(Debug)]
pub struct Namespace {
    net: File,
    mount: File,
}

impl Namespace {
    /// Creates a namespace with a loopback interface that is up and an empty bpf filesystem at the
    /// usual place.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses, for instance without root.
    pub fn new() -> Result<Self> {
        Self::with("bpf")
    }

    /// Like [`new`](Self::new), but without a bpf filesystem.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`new`](Self::new).
    pub fn without_bpffs() -> Result<Self> {
        Self::with("tmpfs")
    }

    /// Creates a namespace with a new filesystem of type `pins` at the mount point of the bpf
    /// filesystem.
    fn with(pins: &'static str) -> Result<Self> {
        // On a separate thread, because unshare(2) moves the calling thread.
        let namespace = thread::spawn(move || Self::unshared(pins))
            .join()
            .unwrap_or_else(|cause| panic::resume_unwind(cause))?;
        namespace.ip("link set dev lo up")?;
        Ok(namespace)
    }

    /// Moves this thread into new namespaces and opens them.
    fn unshared(pins: &str) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .context("cannot make a namespace")?;
        // Otherwise the mount would propagate to the host.
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
        add_user()?;
        let hold = |path| File::open(path).context("cannot open the namespace");
        Ok(Self {
            net: hold("/proc/thread-self/ns/net")?,
            mount: hold("/proc/thread-self/ns/mnt")?,
        })
    }

    /// A path to the network namespace that is valid as long as this value, for `ip link set dev X
    /// netns PATH` and `nsenter --net=PATH`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        path(&self.net)
    }

    /// Runs `work` on a new thread inside the namespace. Sockets that it creates and returns stay
    /// in the namespace, and so do its pins.
    ///
    /// # Errors
    ///
    /// Returns an error if the namespace cannot be entered, and the errors of `work`.
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

    /// Moves this thread into the namespace permanently and keeps its working directory.
    fn enter(&self) -> Result<()> {
        let folder = env::current_dir().context("there is no working directory")?;
        setns(&self.net, CloneFlags::CLONE_NEWNET).context("cannot enter the network namespace")?;
        // setns(2) requires that the thread does not share its root and working directory.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&self.mount, CloneFlags::CLONE_NEWNS).context("cannot enter the mount namespace")?;
        env::set_current_dir(&folder)
            .with_context(|| format!("{} is not in the namespace", folder.display()))
    }

    /// A command that runs `program` in the namespace, in the current working directory. The
    /// program is killed when the thread that spawns it ends; its own children are not.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.entered(program.as_ref(), &[])
    }

    /// Like [`command`](Self::command), but without capabilities, as the user who owns the
    /// program's file, who can always reach it. That user has no home directory.
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
        // The inherited home directory is root's.
        command.env("HOME", "/nonexistent");
        command.env_remove("XDG_CONFIG_HOME");
        command
    }

    fn entered(&self, program: &OsStr, options: &[String]) -> Command {
        let mut command = Command::new("nsenter");
        for (option, value) in [
            ("--net=", path(&self.net)),
            ("--mount=", path(&self.mount)),
            // nsenter(1) changes to the root directory otherwise.
            ("--wdns=", env::current_dir().unwrap_or_else(|_| "/".into())),
        ] {
            let mut argument = OsString::from(option);
            argument.push(value);
            command.arg(argument);
        }
        command
            // Both replace themselves with exec, so that the child's process id is the program's.
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args(options)
            .arg("--")
            .arg(program);
        command
    }

    /// Splits `arguments` into words and runs iproute2's `ip` with them in the namespace.
    ///
    /// # Errors
    ///
    /// Returns an error, with the output, if `ip` fails.
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

    /// Renames an interface that is up. Before Linux 6.2 the kernel renames none that is up, so it
    /// is down meanwhile.
    ///
    /// # Errors
    ///
    /// Returns an error, with the output, if `ip` fails.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let rename = format!("link set dev {from} name {to}");
        if self.ip(&rename).is_ok() {
            return Ok(());
        }
        self.ip(&format!("link set dev {from} down"))?;
        self.ip(&rename)?;
        self.ip(&format!("link set dev {to} up"))?;
        Ok(())
    }
}

/// A path to the open `file` that every process can resolve.
fn path(file: &File) -> PathBuf {
    // Not /proc/self, because other processes resolve the path.
    PathBuf::from(format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd()))
}

/// Adds the user of the unprivileged processes to the databases that this mount namespace shows, if
/// the machine does not have it.
fn add_user() -> Result<()> {
    for (path, line) in [
        (
            "/etc/passwd",
            format!("{USER}:x:{USER_ID}:{USER_ID}::/:/usr/sbin/nologin\n"),
        ),
        ("/etc/group", format!("{USER}:x:{USER_ID}:\n")),
    ] {
        let mut text = fs::read_to_string(path).context(path)?;
        if text
            .lines()
            .any(|line| line.starts_with(&format!("{USER}:")))
        {
            continue;
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&line);
        let file = tempfile::NamedTempFile::new()?;
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        mount(
            Some(file.path()),
            path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .with_context(|| format!("cannot mount a file at {path}"))?;
    }
    Ok(())
}
