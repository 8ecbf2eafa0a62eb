//! The state of the listener.

use std::{
    future::pending, io, net::IpAddr, num::NonZeroUsize, os::fd::OwnedFd, path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use knockd_ipc::{
    channel::ListenerEnd,
    message::{FleetConfig, ListenerConfig},
};
use knockd_runtime::clock::{WallClock, monotonic, unix_ms};
use knockd_types::{counters::Counters, datagram::Datagram, syn::Syn};
use lru::LruCache;
use tokio::sync::mpsc;

use crate::{
    accepted::AcceptedKnock,
    assembler::Assembler,
    auth::{Authenticator, SingleUse},
    decrypted::DecryptedDatagrams,
    fleet::{Built, Fleet},
    log_limit::Refusals,
    metrics::Metrics,
    pending::PendingQueries,
    query::Query,
    replay_store::ReplayStore,
    scattered::Scattered,
    skipped_lines::SkippedLines,
    source::{
        lines::{Line, Lines},
        ring::Ring,
    },
    tails::Reporter,
    trials::{Pace, Trials},
};

/// Accepted single-use knocks that are kept in memory, to distinguish further copies from replays.
const ACCEPTED_KNOCKS: NonZeroUsize = match NonZeroUsize::new(1024) {
    Some(blocks) => blocks,
    None => panic!("it is above zero"),
};

/// A source of knocks.
pub(crate) enum Source {
    /// The ring buffers of the eBPF program.
    Rings(Box<Rings>),
    /// Lines of text.
    Lines(Lines),
    /// Lines of text that have ended.
    Ended,
}

/// The ring buffers of an eBPF program.
pub(crate) struct Rings {
    pub(crate) syns: Ring<Syn>,
    /// `None` if datagrams are not accepted.
    pub(crate) datagrams: Option<Ring<Datagram>>,
}

/// The events that were read from ring buffers.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) syns: Vec<Syn>,
    pub(crate) datagrams: Vec<Datagram>,
}

/// An input of a source.
pub(crate) enum Input {
    /// Events, which are in the [`Batch`].
    Events,
    Line(Line),
    Ended,
}

impl Rings {
    /// The readers of the ring buffers in `files`: that of SYNs, and that of datagrams if they are
    /// accepted.
    ///
    /// # Errors
    ///
    /// Returns an error if a file is missing, or a ring buffer cannot be opened.
    pub(crate) fn open(
        files: &mut impl Iterator<Item = OwnedFd>,
        config: &ListenerConfig,
    ) -> Result<Self> {
        let mut file = || files.next().context("the file of a ring buffer is missing");
        let syns = Ring::open(file()?)?;
        let datagrams = match &config.auth.server {
            Some(_) => Some(Ring::open(file()?)?),
            None => None,
        };
        Ok(Self { syns, datagrams })
    }

    /// All events that are on the ring buffers.
    pub(crate) fn drain(&mut self) -> Batch {
        let mut batch = Batch::default();
        self.syns.drain(&mut batch.syns);
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.drain(&mut batch.datagrams);
        }
        batch
    }
}

impl Source {
    /// The next input. Events of the ring buffers are appended to `batch`. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel cannot wait for the ring buffer.
    pub(crate) async fn next(&mut self, batch: &mut Batch) -> Result<Input> {
        match self {
            Self::Rings(rings) => {
                // In random order, so that a flood of one kind delays the other by one batch.
                tokio::select! {
                    read = rings.syns.next(&mut batch.syns) => read?,
                    read = next_datagrams(&mut rings.datagrams, &mut batch.datagrams) => read?,
                }
                Ok(Input::Events)
            }
            Self::Lines(lines) => Ok(lines.next().await.map_or(Input::Ended, Input::Line)),
            Self::Ended => pending().await,
        }
    }
}

/// Reads the next datagrams; never returns if they are not accepted. Cancel-safe.
async fn next_datagrams(
    ring: &mut Option<Ring<Datagram>>,
    batch: &mut Vec<Datagram>,
) -> io::Result<()> {
    match ring {
        Some(ring) => ring.next(batch).await,
        None => pending().await,
    }
}

/// What the supervisor repeats of a request that it refuses: client number, address and arrival.
pub(crate) type RequestKey = (u32, IpAddr, Duration);

/// The state of the event loop.
pub(crate) struct Listener {
    pub(crate) supervisor: ListenerEnd,
    pub(crate) source: Source,
    pub(crate) config: ListenerConfig,
    pub(crate) assembler: Assembler,
    pub(crate) trials: Trials,
    pub(crate) scattered: Scattered,
    pub(crate) pace: Pace,
    /// SYNs that were read since blocks were tried.
    pub(crate) untried: usize,
    pub(crate) authenticator: Authenticator,
    /// `None` until a client has a key pair.
    pub(crate) store: Option<ReplayStore>,
    /// The path of the replay store for messages; `None` if there is no directory for it.
    pub(crate) store_path: Option<PathBuf>,
    /// The latest accepted single-use knocks: where each came from, and when.
    pub(crate) accepted: LruCache<[u8; 16], (IpAddr, Duration)>,
    /// The latest requests to open a door whose knock is given back if no door is free.
    pub(crate) returnable: LruCache<RequestKey, SingleUse>,
    pub(crate) decrypted: DecryptedDatagrams,
    /// The accepted knocks of the current batch.
    pub(crate) accepted_knocks: Vec<AcceptedKnock>,
    /// `None` if this daemon is no node of a fleet.
    pub(crate) fleet: Option<Fleet>,
    pub(crate) refusals: Refusals,
    pub(crate) wall_clock: WallClock,
    pub(crate) reporter: Reporter,
    pub(crate) counters: Counters,
    pub(crate) metrics: Metrics,
    pub(crate) pending: PendingQueries,
    /// The start of the daemon, on the clock of [`monotonic`].
    pub(crate) started: Duration,
    /// The number of `tail` subscribers, which also receive the kernel's log lines.
    pub(crate) tails: usize,
    /// Whether Landlock confines this process.
    pub(crate) has_landlock: bool,
    /// Whether the supervisor sends notices.
    pub(crate) notices_on: bool,
    pub(crate) skipped_lines: SkippedLines,
}

impl Listener {
    /// A listener in a daemon that was started at `started`. `queries` leads to its event loop.
    ///
    /// # Errors
    ///
    /// Returns an error if it is to be a node of a fleet and was not built for that.
    pub(crate) fn new(
        supervisor: ListenerEnd,
        source: Source,
        config: ListenerConfig,
        store_path: Option<PathBuf>,
        started: Duration,
        queries: mpsc::Sender<Query>,
    ) -> Result<Self> {
        let node = |fleet: &FleetConfig| -> Result<Fleet> {
            let built = Built::with_fleet()?;
            Ok(Fleet::new(built, fleet, &config.auth, config.max_skew))
        };
        let fleet = config.fleet.as_ref().map(node).transpose()?;
        Ok(Self {
            supervisor,
            source,
            assembler: Assembler::new(config.sequence_timeout, config.sources),
            trials: Trials::default(),
            scattered: Scattered::default(),
            pace: Pace::default(),
            untried: 0,
            authenticator: Authenticator::new(&config.auth),
            fleet,
            config,
            store: None,
            store_path,
            accepted: LruCache::new(ACCEPTED_KNOCKS),
            returnable: LruCache::new(ACCEPTED_KNOCKS),
            decrypted: DecryptedDatagrams::new(),
            accepted_knocks: Vec::new(),
            refusals: Refusals::default(),
            wall_clock: WallClock::new(unix_ms(), monotonic()),
            reporter: Reporter::default(),
            counters: Counters::default(),
            metrics: Metrics::new(queries, started),
            pending: PendingQueries::default(),
            started,
            tails: 0,
            has_landlock: false,
            notices_on: false,
            skipped_lines: SkippedLines::default(),
        })
    }
}
