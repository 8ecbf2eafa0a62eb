//! A server with a firewall, a client, and the start times of the server's commands.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use knock_tests::{link::Pair, netns::Namespace, wire::Sender};
use procfs::{FromRead as _, net::InterfaceDeviceStatus};
use rustix::{
    fs::{CWD, FileType, Mode},
    time::{ClockId, clock_gettime},
};
use tempfile::TempDir;

/// The command that the daemons run; the build script compiles it.
const STAMP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stamp"));

/// The length of a record that a command writes: its start time and the client address.
const RECORD: usize = 64;

/// The firewall of a server that needs port knocking: it drops all SYNs.
pub(crate) const FIREWALL: &str = "
table inet bench {
    chain input {
        type filter hook input priority filter
        tcp flags & (syn | ack) == syn drop
    }
}
";

/// A pair of hosts, and a directory for the daemon on the server.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) pair: Pair,
    /// Sends frames from the client's end of the veth pair.
    pub(crate) sender: Sender,
    pub(crate) site: Site,
}

impl Lab {
    /// A lab with its files in `folder`. It should be on a disk, like the daemon's state directory.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let pair = Pair::new()?;
        // A veth uses NAPI only with GRO or an XDP program. Without NAPI it does not receive the
        // frames that XDP redirects to its peer.
        let interface = Pair::SERVER_INTERFACE;
        run(pair
            .server
            .command("ethtool")
            .args(["-K", interface, "gro", "on"]))?;
        // The client addresses are outside the link's network.
        pair.server.ip("route add default dev srv0")?;
        let site = Site::new(folder)?;
        site.firewall(&pair.server, FIREWALL)?;
        let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE)?;
        Ok(Self { pair, sender, site })
    }

    /// The number of packets that the server's interface has received.
    pub(crate) fn arrived(&self) -> Result<u64> {
        self.pair.server.run(|| {
            let interfaces = InterfaceDeviceStatus::from_file("/proc/thread-self/net/dev")?;
            let server = interfaces.0.get(Pair::SERVER_INTERFACE);
            Ok(server.context("the server has no interface")?.recv_packets)
        })
    }
}

/// The address of the `index`-th client.
pub(crate) fn client_address(index: u32) -> Ipv4Addr {
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 1));
    Ipv4Addr::from(first + index)
}

/// The directory of a daemon, and the start times of its commands.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
    pub(crate) stamps: Stamps,
}

impl Site {
    /// A site in a new directory in `parent`.
    pub(crate) fn new(parent: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("site").tempdir_in(parent)?;
        let stamp = folder.path().join("stamp");
        fs::write(&stamp, STAMP)?;
        fs::set_permissions(&stamp, fs::Permissions::from_mode(0o755))?;
        let stamps = Stamps::new(&folder.path().join("stamps"))?;
        Ok(Self { folder, stamps })
    }

    /// The path of a file or directory of the site.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The site's directory as text for configuration files.
    pub(crate) fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Writes a file with mode 0600, which daemons require for secrets.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// `text` with a fixed path instead of the site's, which differs between runs.
    pub(crate) fn portable(&self, text: &str) -> String {
        text.replace(&self.folder(), "/srv/bench")
    }

    /// Loads nftables `rules` in `namespace`.
    pub(crate) fn firewall(&self, namespace: &Namespace, rules: &str) -> Result<()> {
        let file = self.write("rules.nft", rules)?;
        run(namespace.command("nft").arg("--file").arg(file))
    }
}

/// Runs `command` and waits for it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs `command` and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The current time in nanoseconds of `CLOCK_MONOTONIC`, which the commands use.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    nanoseconds(now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned())
}

fn nanoseconds(seconds: u64, nanoseconds: u64) -> u64 {
    seconds * 1_000_000_000 + nanoseconds
}

/// The start time of the command of each client.
#[derive(Debug)]
pub(crate) struct Stamps {
    fifo: File,
    seen: Arc<Seen>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    began: Mutex<HashMap<String, u64>>,
    changed: Condvar,
}

impl Stamps {
    fn new(path: &Path) -> Result<Self> {
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // A FIFO without a reader would block the commands; one without a writer would end the reader.
        let fifo = OpenOptions::new().read(true).write(true).open(path)?;
        let seen = Arc::new(Seen::default());
        let reader = thread::spawn({
            let (fifo, seen) = (fifo.try_clone()?, Arc::clone(&seen));
            move || seen.collect(fifo)
        });
        Ok(Self {
            fifo,
            seen,
            reader: Some(reader),
        })
    }

    /// The start time of the first command for `source`, see [`now`]; none if there is no command
    /// within `timeout`.
    pub(crate) fn wait(&self, source: Ipv4Addr, timeout: Duration) -> Option<u64> {
        let name = source.to_string();
        let deadline = Instant::now() + timeout;
        let mut began = self.seen.lock();
        loop {
            if let Some(time) = began.get(&name) {
                return Some(*time);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.seen.changed.wait_timeout(began, left);
            began = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many of `sources` have had a command after `timeout`.
    pub(crate) fn count(
        &self,
        sources: impl IntoIterator<Item = Ipv4Addr>,
        timeout: Duration,
    ) -> usize {
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let sources = sources.into_iter();
        sources
            .filter(|source| self.wait(*source, left()).is_some())
            .count()
    }

    /// Removes all start times.
    pub(crate) fn clear(&self) {
        self.seen.lock().clear();
    }
}

impl Drop for Stamps {
    fn drop(&mut self) {
        // A record without an address, which no command writes, ends the reader.
        let _ = self.fifo.write_all(&[0; RECORD]);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Seen {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.began.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, mut fifo: File) {
        let mut record = [0; RECORD];
        // One `write` is one record: writes of up to PIPE_BUF bytes are atomic (pipe(7)).
        while fifo.read_exact(&mut record).is_ok() {
            let (seconds, rest) = record.split_at(8);
            let (fraction, name) = rest.split_at(8);
            let name = String::from_utf8_lossy(name);
            let name = name.trim_end_matches('\0');
            if name.is_empty() {
                return;
            }
            let [seconds, fraction] = [seconds, fraction]
                .map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap_or_default()));
            let mut began = self.lock();
            began
                .entry(name.to_owned())
                .or_insert(nanoseconds(seconds, fraction));
            drop(began);
            self.changed.notify_all();
        }
    }
}
