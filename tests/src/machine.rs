//! A host that systemd has booted.

use std::{
    ffi::OsStr,
    fs,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::PermissionsExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::{Path, PathBuf},
    process::{ChildStdin, Command},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    netns::Namespace,
    privilege,
    process::{Running, Stream, copy_program},
    scene::SOON,
};

/// Abstract socket on which the machine's systemd reports readiness; boot.sh has the same name.
/// Each network namespace has its own abstract sockets.
const NOTIFY_SOCKET: &str = "knock-machine";

/// Boots a machine and cleans up after it.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine/keep.sh");

/// Exit status of the script if this host cannot run such a machine.
const UNSUPPORTED: i32 = 77;

/// A systemd with a journal, in the network of a [`Namespace`] and in other namespaces of its own.
/// Its file system is an overlay over that of this host, so that changes stay inside the machine.
/// The machine and all its processes end when this is dropped or the test process ends.
#[derive(Debug)]
pub struct Machine {
    script: Running,
    /// The script stops the machine when this pipe closes.
    stdin: Option<ChildStdin>,
    /// Process id of the machine's init, in this host's PID namespace.
    init: u32,
}

impl Machine {
    /// Boots a machine in the network of `namespace` and waits until it is up. Returns `None` and
    /// prints what is missing if this host cannot run it.
    ///
    /// # Errors
    ///
    /// Returns an error if the machine does not boot.
    ///
    /// # Panics
    ///
    /// Panics instead of returning `None` if `CI` is set, like [`privilege::namespaces`].
    pub fn boot(namespace: &Namespace) -> Result<Option<Self>> {
        let ready = namespace.run(|| {
            let address = SocketAddr::from_abstract_name(NOTIFY_SOCKET)?;
            Ok(UnixDatagram::bind_addr(&address)?)
        })?;
        let mut command = namespace.command("setpriv");
        // Ended only by the end of its standard input, so that it can clean up.
        command.args(["--pdeathsig", "clear", "unshare", "--mount"]);
        command.args(["sh", SCRIPT]);
        let (mut script, stdin) = Running::spawn_fed(command)?;
        let id = script.wait_for(|line| line.parse::<u32>().is_ok(), SOON);
        if id.is_err() && script.has_ended()? && script.wait(SOON)?.code() == Some(UNSUPPORTED) {
            let errors = script.text(Stream::Err);
            let missing = errors.lines().last().unwrap_or_default();
            let _ = privilege::granted(false, &format!("{missing}, for a machine with systemd"));
            return Ok(None);
        }
        let machine = Self {
            init: id?.parse()?,
            script,
            stdin: Some(stdin),
        };
        ready.set_read_timeout(Some(SOON))?;
        let mut message = [0; 1024];
        loop {
            let len = ready
                .recv(&mut message)
                .context("systemd does not come up")?;
            if message[..len].starts_with(b"READY=1") {
                return Ok(Some(machine));
            }
        }
    }

    /// The machine's file `path`, as a path on this host.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        let root = PathBuf::from(format!("/proc/{}/root", self.init));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Copies the file `from` to `to` on the machine, with permissions `mode`.
    ///
    /// # Errors
    ///
    /// Returns an error if `from` cannot be read or `to` cannot be written.
    pub fn install(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let to = self.path(to);
        copy_program(from, &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Writes the file `path` on the machine and creates its parent folders.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be written.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let path = self.path(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }

    /// A command that runs `program` on the machine as root. It is killed when the thread that
    /// spawns it ends.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init));
        command.args(["--all", "setpriv", "--pdeathsig", "KILL", "--"]);
        command.arg(program);
        command.env_clear();
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command
    }

    /// Splits `line` into words, runs them as a command on the machine and returns its standard
    /// output.
    ///
    /// # Errors
    ///
    /// Returns an error, with all the output, if the command fails.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().context("no program")?);
        let output = command.args(words).output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "`{line}` failed: {printed}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(printed)
    }

    /// Follows the journal of the service `unit`, from its first line on.
    ///
    /// # Errors
    ///
    /// Returns an error if journalctl does not start.
    pub fn follow(&self, unit: &str) -> Result<Running> {
        let mut journal = self.command("journalctl");
        journal.args(["--follow", "--lines=all", "--output=cat", "--unit", unit]);
        Running::spawn(journal)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // The script is killed if it does not end by itself.
        let _ = self.script.wait(SOON);
    }
}
