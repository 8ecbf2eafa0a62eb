//! The state of the listener.

use std::{net::IpAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use anyhow::Result;
use knock_common::protocol::block::Block;
use knockd_ipc::{channel::ListenerEnd, message::ListenerConfig};
use knockd_runtime::clock::{WallClock, monotonic, unix_ms};
use knockd_types::{counters::Counters, syn::Syn};
use lru::LruCache;
use tokio::sync::mpsc;

use crate::{
    assembler::Assembler,
    auth::Authenticator,
    log_limit::Refusals,
    metrics::Metrics,
    pending::PendingQueries,
    query::Query,
    replay_store::ReplayStore,
    skipped_lines::SkippedLines,
    source::{
        lines::{Line, Lines},
        ring::Ring,
    },
    tails::Reporter,
};

/// Accepted sealed blocks that are kept in memory, to distinguish further copies from replays.
const ACCEPTED_BLOCKS: NonZeroUsize = match NonZeroUsize::new(1024) {
    Some(blocks) => blocks,
    None => panic!("it is above zero"),
};

/// A source of SYNs.
pub(crate) enum Source {
    /// The ring buffer of the XDP program.
    Ring(Box<Ring<Syn>>),
    /// Lines of text.
    Lines(Lines),
    /// Lines of text that have ended.
    Ended,
}

/// An input of a source.
pub(crate) enum Input {
    Syns,
    Line(Line),
    Ended,
}

impl Source {
    /// The next input. SYNs of the ring buffer are appended to `syns`. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel cannot wait for the ring buffer.
    pub(crate) async fn next(&mut self, syns: &mut Vec<Syn>) -> Result<Input> {
        match self {
            Self::Ring(ring) => {
                ring.next(syns).await?;
                Ok(Input::Syns)
            }
            Self::Lines(lines) => Ok(lines.next().await.map_or(Input::Ended, Input::Line)),
            Self::Ended => std::future::pending().await,
        }
    }
}

/// The state of the event loop.
pub(crate) struct Listener {
    pub(crate) supervisor: ListenerEnd,
    pub(crate) source: Source,
    pub(crate) config: ListenerConfig,
    pub(crate) assembler: Assembler,
    pub(crate) authenticator: Authenticator,
    /// `None` until a client uses the sealed protocol.
    pub(crate) store: Option<ReplayStore>,
    /// The path of the replay store for messages; `None` if there is no directory for it.
    pub(crate) store_path: Option<PathBuf>,
    /// The latest accepted sealed blocks: where each came from, and when.
    pub(crate) accepted: LruCache<Block, (IpAddr, Duration)>,
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
    /// Whether the supervisor sends notices.
    pub(crate) notices_on: bool,
    pub(crate) skipped_lines: SkippedLines,
}

impl Listener {
    /// A listener in a daemon that was started at `started`. `queries` leads to its event loop.
    pub(crate) fn new(
        supervisor: ListenerEnd,
        source: Source,
        config: ListenerConfig,
        store_path: Option<PathBuf>,
        started: Duration,
        queries: mpsc::Sender<Query>,
    ) -> Self {
        Self {
            supervisor,
            source,
            assembler: Assembler::new(config.sequence_timeout, config.sources),
            authenticator: Authenticator::new(&config.auth),
            config,
            store: None,
            store_path,
            accepted: LruCache::new(ACCEPTED_BLOCKS),
            refusals: Refusals::default(),
            wall_clock: WallClock::new(unix_ms(), monotonic()),
            reporter: Reporter::default(),
            counters: Counters::default(),
            metrics: Metrics::new(queries, started),
            pending: PendingQueries::default(),
            started,
            tails: 0,
            notices_on: false,
            skipped_lines: SkippedLines::default(),
        }
    }
}
