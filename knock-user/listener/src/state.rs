//! The network-facing process: reads what strangers send, and finds the knocks in it.
//!
//! It has no rights. What it needs was opened for it by the keeper; what is to be done it asks
//! of the keeper ([`super::inner`]). Data moves from the source to the channel, and only the
//! disk and the keeper are waited for.

use std::{net::IpAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use anyhow::Result;
use knock_common::protocol::block::Block;
use knockd_ipc::{channel::ListenerEnd, message::ListenerConfig};
use knockd_runtime::clock::WallClock;
use knockd_types::{counters::Counters, syn::Syn};
use lru::LruCache;

use crate::{
    assembler::Assembler,
    auth::Authenticator,
    log_limit::Refusals,
    metrics::latency::Latencies,
    pending::PendingQueries,
    replay_store::ReplayStore,
    source::{
        lines::{Line, Lines},
        ring::Ring,
    },
    tails::Reporter,
};

/// A bad line is warned of at most this often.
pub(crate) const LINE_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Accepted knocks that are known, so that a further copy of one is told as such.
pub(crate) const COPIES_KNOWN: NonZeroUsize = match NonZeroUsize::new(1024) {
    Some(known) => known,
    None => panic!("it is above zero"),
};

/// Where the knocks come from.
pub(crate) enum Source {
    /// The XDP program.
    Ring(Box<Ring>),
    /// Lines.
    Lines(Lines),
    /// Lines that have come to their end.
    Ended,
}

/// What a source yields.
pub(crate) enum Input {
    Syns,
    Line(Line),
    Ended,
}

impl Source {
    /// The next input; knocks are appended to `knocks`.
    pub(crate) async fn next(&mut self, knocks: &mut Vec<Syn>) -> Result<Input> {
        match self {
            Self::Ring(ring) => {
                ring.next(knocks).await?;
                Ok(Input::Syns)
            }
            Self::Lines(lines) => Ok(lines.next().await.map_or(Input::Ended, Input::Line)),
            Self::Ended => std::future::pending().await,
        }
    }
}

/// Everything that the loop moves.
pub(crate) struct Listener {
    pub(crate) keeper: ListenerEnd,
    pub(crate) source: Source,
    pub(crate) terms: ListenerConfig,
    pub(crate) assembler: Assembler,
    pub(crate) authenticator: Authenticator,
    /// Absent where there is nothing to remember.
    pub(crate) store: Option<ReplayStore>,
    /// What the folder of the store is called for a person, if there is one.
    pub(crate) store_folder: Option<PathBuf>,
    /// The sealed blocks that were accepted last, from where, and when.
    pub(crate) accepted: LruCache<Block, (IpAddr, Duration)>,
    pub(crate) refusals: Refusals,
    pub(crate) wall_clock: WallClock,
    pub(crate) reporter: Reporter,
    pub(crate) counters: Counters,
    /// Where it goes how long a knock took, if anybody wants to know.
    pub(crate) latencies: Option<Latencies>,
    pub(crate) questions: PendingQueries,
    pub(crate) started: Duration,
    pub(crate) tails: usize,
    /// Whether the keeper tells notices.
    pub(crate) notified: bool,
    pub(crate) skipped_lines: SkippedLines,
}

/// Bad lines since the last warning.
#[derive(Debug, Default)]
pub(crate) struct SkippedLines {
    warned: Option<Duration>,
    unsaid: u64,
}

impl SkippedLines {
    /// Counts a bad line. When it is time to warn again: how many went unsaid before it.
    pub(crate) fn may_warn(&mut self, now: Duration) -> Option<u64> {
        if let Some(warned) = self.warned
            && now < warned + LINE_WARNING_INTERVAL
        {
            self.unsaid += 1;
            return None;
        }
        self.warned = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}
