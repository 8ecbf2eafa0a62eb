//! The daemons that are measured: ours, and those that do the same job.

pub(crate) mod fwknop;
pub(crate) mod jvinet;
pub(crate) mod log;
pub(crate) mod ours;

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
    netns::Namespace,
    process::Running,
    scene::{SOON, syns},
    wire::Sender,
};

use crate::{
    lab::{Site, knocker, now},
    meter::Usage,
    scenario::Context,
};

/// Where everybody knocks from; the address is each one's own.
const SOURCE_PORT: u16 = 40_000;

/// Those who only look whether a daemon is there have the addresses from this number on.
const PROBES: u32 = 60_000;

/// How long a probe waits for its command before the next one.
const PROBE: Duration = Duration::from_millis(500);

/// A daemon that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Ours, knocked on with sealed knocks.
    Sealed,
    /// Ours, knocked on with classic ones.
    Classic,
    /// jvinet's knockd.
    Jvinet,
    /// fwknopd with a socket.
    FwknopUdp,
    /// fwknopd with a capture, as it comes.
    FwknopPcap,
    /// The seed's way: nftables logs to ulogd2, and our daemon reads lines.
    Log,
}

impl Subject {
    /// As it stands in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sealed => "knockd-xdp, sealed",
            Self::Classic => "knockd-xdp, classic",
            Self::Jvinet => "knockd 0.8",
            Self::FwknopUdp => "fwknopd, UDP server",
            Self::FwknopPcap => "fwknopd, pcap (default)",
            Self::Log => "nftables log, ulogd2, --lines",
        }
    }

    /// Starts it on interface `srv0` of `host`, and returns when it has answered to a knock that
    /// came over `cable`.
    pub(crate) fn start(
        self,
        context: &Context,
        host: &Namespace,
        site: &Site,
        cable: &Sender,
    ) -> Result<Daemon> {
        let mut daemon = self.launch(context, host, site)?;
        daemon
            .awake(site, cable)
            .with_context(|| format!("{} does not work here", self.name()))?;
        Ok(daemon)
    }

    /// Starts it, and does not wait.
    pub(crate) fn launch(self, context: &Context, host: &Namespace, site: &Site) -> Result<Daemon> {
        match self {
            Self::Sealed => ours::start(context, host, site, ours::Kind::Sealed, 1),
            Self::Classic => ours::start(context, host, site, ours::Kind::Classic, 1),
            Self::Jvinet => jvinet::start(context, host, site),
            Self::FwknopUdp => fwknop::start(context, host, site, fwknop::Input::Udp),
            Self::FwknopPcap => fwknop::start(context, host, site, fwknop::Input::Pcap),
            Self::Log => log::start(context, host, site),
        }
    }
}

/// What makes one knock for a source: its frames, in order.
pub(crate) type Knocks = Box<dyn Fn(Ipv4Addr) -> Result<Vec<Vec<u8>>> + Send + Sync>;

/// A daemon that runs. Dropping it ends it.
pub(crate) struct Daemon {
    /// All processes of it that this one has started.
    running: Vec<Running>,
    knocks: Knocks,
}

impl Daemon {
    pub(crate) fn new(running: Vec<Running>, knocks: Knocks) -> Self {
        Self { running, knocks }
    }

    /// The frames of a knock of now from `source`, in order.
    pub(crate) fn knock(&self, source: Ipv4Addr) -> Result<Vec<Vec<u8>>> {
        (self.knocks)(source)
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let ids: Vec<_> = self.running.iter().map(Running::id).collect();
        Usage::of(&ids)
    }

    /// Returns once a knock gets through.
    pub(crate) fn awake(&mut self, site: &Site, cable: &Sender) -> Result<()> {
        let deadline = Instant::now() + SOON;
        for probe in PROBES.. {
            let source = knocker(probe);
            send(cable, &self.knock(source)?)?;
            if site.stamps.wait(source, PROBE).is_some() {
                return Ok(());
            }
            for process in &mut self.running {
                ensure!(!process.has_ended()?, "it has ended:\n{}", said(process));
            }
            let said = self.running.iter().map(said).collect::<String>();
            ensure!(
                Instant::now() < deadline,
                "no knock got through; it said:\n{said}"
            );
        }
        Ok(())
    }
}

/// What `process` has said last.
fn said(process: &Running) -> String {
    let lines = process.lines();
    lines[lines.len().saturating_sub(10)..]
        .iter()
        .map(|line| format!("{}\n", line.text))
        .collect()
}

/// Sends the frames of a knock; when the last of them was handed over, see [`now`].
pub(crate) fn send(cable: &Sender, knock: &[Vec<u8>]) -> Result<u64> {
    let (last, others) = knock.split_last().context("a knock has no frames")?;
    for frame in others {
        cable.send_at_last(frame)?;
    }
    let sent = now();
    cable.send_at_last(last)?;
    Ok(sent)
}

/// The SYNs of `block` from `source` to the server of a [`Pair`].
fn block(block: Block, source: Ipv4Addr) -> Result<Vec<Vec<u8>>> {
    let source = SocketAddr::new(IpAddr::V4(source), SOURCE_PORT);
    let frames = syns(block, source, Pair::SERVER_V4.into());
    frames.iter().map(Frame::bytes).collect()
}

/// A peer's program: of its unpacked package, or else the installed one.
pub(crate) fn program(context: &Context, name: &str) -> Result<PathBuf> {
    let unpacked = context.peers();
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = ["usr/sbin", "usr/bin", "sbin", "bin"].map(|folder| unpacked.join(folder));
    folders
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("there is no {name}: call `cargo xtask bench`, which provides it"))
}

/// `command` with the libraries of the peers, for those that this machine does not have.
pub(crate) fn with_libraries(context: &Context, command: &mut Command) -> Result<()> {
    let mut folders = Vec::new();
    for parent in ["usr/lib", "lib"].map(|folder| context.peers().join(folder)) {
        // Debian's folder for this kind of machine; without a package that has one, none.
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
