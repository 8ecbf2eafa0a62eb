//! A running daemon, and what the modules of the single daemons share.

use std::{
    env,
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use knock_common::protocol::block::Block;
use knock_tests::{
    frame::Frame,
    link::Pair,
    process::Running,
    scene::{SOON, syns},
    wire::Sender,
};

use crate::{
    context::Context,
    lab::{Site, client_address, now},
    meter::Usage,
};

/// The source port of every knock; the source addresses differ.
pub(super) const SOURCE_PORT: u16 = 40_000;

/// The index of the first client address for readiness probes.
const PROBES: u32 = 60_000;

/// How long a probe waits for its command before the next probe is sent.
const PROBE: Duration = Duration::from_millis(500);

/// Makes the frames of one knock from a source, in order.
pub(super) type Knocks = Box<dyn Fn(Ipv4Addr) -> Result<Vec<Vec<u8>>> + Send + Sync>;

/// A running daemon. Dropping it ends its processes.
pub(crate) struct Daemon {
    /// The processes that the benchmark started; they may have children.
    running: Vec<Running>,
    knocks: Knocks,
}

impl Daemon {
    pub(super) fn new(running: Vec<Running>, knocks: Knocks) -> Self {
        Self { running, knocks }
    }

    /// The frames of a knock from `source` with the current time, in order.
    pub(crate) fn knock(&self, source: Ipv4Addr) -> Result<Vec<Vec<u8>>> {
        (self.knocks)(source)
    }

    /// What the daemon has used since its start.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let ids: Vec<_> = self.running.iter().map(Running::id).collect();
        Usage::of(&ids)
    }

    /// Sends knocks until one runs its command.
    pub(crate) fn wait_until_ready(&mut self, site: &Site, sender: &Sender) -> Result<()> {
        let deadline = Instant::now() + SOON;
        for probe in PROBES.. {
            let source = client_address(probe);
            send(sender, &self.knock(source)?)?;
            if site.stamps.wait(source, PROBE).is_some() {
                return Ok(());
            }
            for process in &mut self.running {
                ensure!(
                    !process.has_ended()?,
                    "a process ended:\n{}",
                    last_lines(process)
                );
            }
            let output = self.running.iter().map(last_lines).collect::<String>();
            ensure!(
                Instant::now() < deadline,
                "no knock was accepted; last output:\n{output}"
            );
        }
        Ok(())
    }
}

/// The last lines of output of `process`.
fn last_lines(process: &Running) -> String {
    let lines = process.lines();
    lines[lines.len().saturating_sub(10)..]
        .iter()
        .map(|line| format!("{}\n", line.text))
        .collect()
}

/// Sends the frames of a knock. Returns the time right before the last one, see [`now`].
pub(crate) fn send(sender: &Sender, knock: &[Vec<u8>]) -> Result<u64> {
    let (last, others) = knock.split_last().context("a knock has no frames")?;
    for frame in others {
        sender.send_with_retry(frame)?;
    }
    let sent = now();
    sender.send_with_retry(last)?;
    Ok(sent)
}

/// The SYNs of `block` from `source` to the server of a [`Pair`].
pub(super) fn block(block: Block, source: Ipv4Addr) -> Result<Vec<Vec<u8>>> {
    let source = SocketAddr::new(IpAddr::V4(source), SOURCE_PORT);
    let frames = syns(block, source, Pair::SERVER_V4.into());
    frames.iter().map(Frame::bytes).collect()
}

/// The path of a peer's program: from the unpacked packages, or else an installed one.
pub(super) fn program(context: &Context, name: &str) -> Result<PathBuf> {
    let unpacked = context.peers();
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = ["usr/sbin", "usr/bin", "sbin", "bin"].map(|folder| unpacked.join(folder));
    folders
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("there is no {name}: run `cargo xtask bench`, which provides it"))
}

/// Adds the peers' unpacked libraries to the search path of `command`.
pub(super) fn with_libraries(context: &Context, command: &mut Command) -> Result<()> {
    let mut folders = Vec::new();
    for parent in ["usr/lib", "lib"].map(|folder| context.peers().join(folder)) {
        // Debian's multiarch directory. It is missing if no package brings libraries.
        for entry in parent.read_dir().into_iter().flatten() {
            let folder = entry?.path();
            if folder.to_string_lossy().ends_with("-linux-gnu") {
                folders.push(folder);
            }
        }
    }
    let folders: OsString = env::join_paths(folders)?;
    command.env("LD_LIBRARY_PATH", folders);
    Ok(())
}
