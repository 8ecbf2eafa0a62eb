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

/// Where the machine's systemd tells that it is up, as boot.sh has it. Every network namespace
/// has such names of its own.
const NOTIFY_SOCKET: &str = "knock-machine";

/// Boots a machine and keeps it.
const KEEPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine/keep.sh");

/// The status of a keeper whose machine cannot be had here.
const CANNOT: i32 = 77;

/// A real systemd with a journal, in the network of a [`Namespace`] and in namespaces of its
/// own. Its files are those of this host; what changes there is seen on the machine alone. It
/// ends, with everything that runs on it, when this is dropped or this process ends.
#[derive(Debug)]
pub struct Machine {
    keeper: Running,
    /// The machine lives as long as this.
    life: Option<ChildStdin>,
    /// The machine's first process, as this host knows it.
    init: u32,
}

impl Machine {
    /// Boots a machine in the network of `namespace` and waits until it is up. `None` where
    /// this host does not have what that takes; then it was printed what is missing.
    ///
    /// # Errors
    ///
    /// It does not come up.
    ///
    /// # Panics
    ///
    /// Instead of `None` if `CI` is set, like [`privilege::namespaces`].
    pub fn boot(namespace: &Namespace) -> Result<Option<Self>> {
        let up = namespace.run(|| {
            let address = SocketAddr::from_abstract_name(NOTIFY_SOCKET)?;
            Ok(UnixDatagram::bind_addr(&address)?)
        })?;
        let mut command = namespace.command("setpriv");
        // Only its standard input ends it, so that it can clear up.
        command.args(["--pdeathsig", "clear", "unshare", "--mount"]);
        command.args(["sh", KEEPER]);
        let (mut keeper, life) = Running::spawn_fed(command)?;
        let id = keeper.wait_for(|line| line.parse::<u32>().is_ok(), SOON);
        if id.is_err() && keeper.has_ended()? && keeper.wait(SOON)?.code() == Some(CANNOT) {
            let said = keeper.text(Stream::Err);
            let missing = said.lines().last().unwrap_or_default();
            privilege::granted(false, &format!("{missing}, for a machine with systemd"));
            return Ok(None);
        }
        let machine = Self {
            init: id?.parse()?,
            keeper,
            life: Some(life),
        };
        up.set_read_timeout(Some(SOON))?;
        let mut message = [0; 1024];
        loop {
            let len = up.recv(&mut message).context("systemd does not come up")?;
            if message[..len].starts_with(b"READY=1") {
                return Ok(Some(machine));
            }
        }
    }

    /// Where the machine's file `path` is for this host.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        let root = PathBuf::from(format!("/proc/{}/root", self.init));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Copies the file `from` to `to` on the machine, with these permissions.
    ///
    /// # Errors
    ///
    /// One cannot be read or the other not written.
    pub fn install(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let to = self.path(to);
        copy_program(from, &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Writes the file `path` of the machine, and makes the folder that it is in.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let path = self.path(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content).with_context(|| format!("{} is not written", path.display()))
    }

    /// A command that runs `program` on the machine, as if somebody had logged in as root. It
    /// is killed when the thread that spawns it ends.
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

    /// Runs the program and arguments that are the words of `line` on the machine. Returns what
    /// it prints.
    ///
    /// # Errors
    ///
    /// It fails; the error has all that it printed.
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

    /// What the journal has of the service `unit`, and what is added, line by line.
    ///
    /// # Errors
    ///
    /// journalctl does not start.
    pub fn follow(&self, unit: &str) -> Result<Running> {
        let mut journal = self.command("journalctl");
        journal.args(["--follow", "--lines=all", "--output=cat", "--unit", unit]);
        Running::spawn(journal)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.life.take());
        // If it does not end by itself, the keeper is killed.
        let _ = self.keeper.wait(SOON);
    }
}
