//! The network-facing process: reads what strangers send, and finds the knocks in it.
//!
//! It has no rights. What it needs was opened for it by the keeper; what is to be done it asks
//! of the keeper ([`super::inner`]). Data moves from the source to the channel, and only the
//! disk and the keeper are waited for.

mod attempt;
mod begin;
mod questions;

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use knock_common::protocol::block::Block;
use lru::LruCache;
use tokio::sync::mpsc;
use tracing::warn;

pub use self::begin::{NAME, main};
use self::questions::Questions;
use super::{
    auth::Authenticator,
    clock::{WallClock, monotonic, sleep_until_monotonic},
    control::Request,
    inner::{
        ListenerEnd,
        order::Order,
        told::{Effect, Terms, Told},
    },
    knock::Knock,
    metrics::latency::Latencies,
    refusals::{Reason, Refusals},
    report::{Counters, Event, Reporter},
    sequence::{Assembler, Candidates, Sighting},
    source::{
        lines::{Line, Lines},
        xdp::ring::Ring,
    },
    store::knocks::Knocks,
};

/// A bad line is warned of at most this often.
const LINE_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Accepted knocks that are known, so that a further copy of one is told as such.
const COPIES_KNOWN: NonZeroUsize = match NonZeroUsize::new(1024) {
    Some(known) => known,
    None => panic!("it is above zero"),
};

/// Where the knocks come from.
enum Source {
    /// The XDP program.
    Ring(Box<Ring>),
    /// Lines.
    Lines(Lines),
    /// Lines that have come to their end.
    Ended,
}

/// What a source yields.
enum Input {
    Knocks,
    Line(Line),
    Ended,
}

impl Source {
    /// The next input; knocks are appended to `knocks`.
    async fn next(&mut self, knocks: &mut Vec<Knock>) -> Result<Input> {
        match self {
            Self::Ring(ring) => {
                ring.next(knocks).await?;
                Ok(Input::Knocks)
            }
            Self::Lines(lines) => Ok(lines.next().await.map_or(Input::Ended, Input::Line)),
            Self::Ended => std::future::pending().await,
        }
    }
}

/// Everything that the loop moves.
struct Listener {
    keeper: ListenerEnd,
    source: Source,
    terms: Terms,
    assembler: Assembler,
    authenticator: Authenticator,
    /// Absent where there is nothing to remember.
    store: Option<Knocks>,
    /// What the folder of the store is called for a person, if there is one.
    store_folder: Option<PathBuf>,
    /// The sealed blocks that were accepted last, from where, and when.
    accepted: LruCache<Block, (IpAddr, Duration)>,
    refusals: Refusals,
    wall_clock: WallClock,
    reporter: Reporter,
    counters: Counters,
    /// Where it goes how long a knock took, if anybody wants to know.
    latencies: Option<Latencies>,
    questions: Questions,
    started: Duration,
    tails: usize,
    /// Whether the keeper tells notices.
    notified: bool,
    skipped_lines: SkippedLines,
}

/// Bad lines since the last warning.
#[derive(Debug, Default)]
struct SkippedLines {
    warned: Option<Duration>,
    unsaid: u64,
}

impl Listener {
    /// Runs until the keeper goes. `requests` come from the control socket.
    ///
    /// # Errors
    ///
    /// The source cannot be read any more, or the keeper not be understood.
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> Result<()> {
        self.keeper.say(&Order::Ready).await?;
        let mut knocks = Vec::new();
        loop {
            // In this order: a flood of events must not keep anything else waiting.
            tokio::select! {
                biased;
                told = self.keeper.hear() => match told? {
                    Some((told, files)) => self.hear(told, files).await?,
                    None => break,
                },
                () = sleep_until_monotonic(self.refusals.next_deadline()) => self.sum_up_refusals(),
                Some(request) = requests.recv() => self.answer(request).await?,
                input = self.source.next(&mut knocks) => match input? {
                    Input::Knocks => {
                        self.flush_kernel_log().await?;
                        self.knocks(&knocks).await?;
                        knocks.clear();
                    }
                    Input::Line(line) => self.line(line).await?,
                    Input::Ended => {
                        self.source = Source::Ended;
                        self.keeper.say(&Order::Ended).await?;
                    }
                },
            }
        }
        self.sum_up_refusals();
        Ok(())
    }

    async fn hear(&mut self, told: Told, files: Vec<OwnedFd>) -> Result<()> {
        match told {
            Told::Begin(_) => bail!("it has begun already"),
            Told::Change(terms) => self.change(*terms, files).await?,
            Told::Notice(notice) => {
                // Somebody may be about to.
                if !self.reporter.relay(*notice) && !self.questions.awaits_tail() {
                    self.notified = false;
                    self.keeper.say(&Order::Notify(false)).await?;
                }
            }
            Told::Took(effect, time) => {
                if let Some(latencies) = &self.latencies {
                    match effect {
                        Effect::Gate => latencies.gate_opened(time),
                        Effect::Command => latencies.command_started(time),
                    }
                }
            }
            Told::Full { client, source } => {
                let detail = "as many doors are open as `limits.open_doors` allows".to_owned();
                let clients = self.terms.auth.clients.iter();
                let client = clients.enumerate().find(|(_, one)| one.number == client);
                let client = client.map(|(index, _)| index);
                self.refuse(source, Reason::DoorsFull, client, detail);
            }
            Told::Report(question, report) => self.report(question, *report),
            Told::Answer(question, outcome) => self.questions.answer(question, outcome),
            // Only awaited in `flush_kernel_log`.
            Told::Flushed => {}
            Told::Ping => self.keeper.say(&Order::Alive).await?,
        }
        Ok(())
    }

    /// Goes over to another configuration, and to the ring that is new with it.
    async fn change(&mut self, terms: Terms, files: Vec<OwnedFd>) -> Result<()> {
        let keeps_window = terms.window() == self.terms.window();
        self.authenticator = Authenticator::new(&terms.auth);
        self.assembler
            .set_limits(terms.sequence_timeout, terms.sources);
        self.terms = terms;
        self.open_store()?;
        let before = match (files.into_iter().next(), &mut self.source) {
            (Some(ring), Source::Ring(_)) => {
                let next = Source::Ring(Box::new(Ring::open(ring)?));
                std::mem::replace(&mut self.source, next)
            }
            _ => return Ok(()),
        };
        if !keeps_window {
            // What is half-finished was for other ports.
            self.assembler.clear();
        } else if let Source::Ring(mut before) = before {
            let mut knocks = Vec::new();
            before.drain(&mut knocks);
            self.knocks(&knocks).await?;
        }
        Ok(())
    }

    /// Opens the store in the folder that this process is in, if there is something to remember
    /// from now on. One that does not work is told, and keeps sealed knocks out, but nobody else.
    fn open_store(&mut self) -> Result<()> {
        let Some(folder) = &self.store_folder else {
            return Ok(());
        };
        if self.store.is_none() && self.terms.auth.has_sealed_clients() {
            let (store, trouble) = Knocks::open(Path::new("."), folder)?;
            self.store = Some(store);
            if let Some(trouble) = trouble {
                let message = format!("{trouble:#}");
                self.reporter.report(Event::Trouble { message });
            }
        }
        Ok(())
    }

    /// While somebody follows, waits until the kernel's lines of what was just read are told:
    /// so a SYN is seen before what became of it.
    async fn flush_kernel_log(&mut self) -> Result<()> {
        if self.tails == 0 {
            return Ok(());
        }
        self.keeper.say(&Order::Flush).await?;
        loop {
            match self.keeper.hear().await? {
                Some((Told::Flushed, _)) => return Ok(()),
                // Boxed, since it may come back here: a change drains a ring.
                Some((told, files)) => Box::pin(self.hear(told, files)).await?,
                None => bail!("knockd has ended"),
            }
        }
    }

    async fn line(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Knock(knock) => self.knocks(&[knock]).await?,
            Line::OutsideWindow => self.counters.lines_outside_window += 1,
            Line::Skipped { number, reason } => {
                self.counters.lines_skipped += 1;
                if let Some(others) = self.skipped_lines.may_warn(monotonic()) {
                    warn!(
                        "line {number} is skipped: {reason} ({others} others since the last such warning)"
                    );
                }
            }
        }
        Ok(())
    }

    async fn knocks(&mut self, knocks: &[Knock]) -> Result<()> {
        for sighting in self.assembler.sight(knocks) {
            self.knock(sighting).await?;
        }
        Ok(())
    }

    async fn knock(&mut self, sighting: Sighting<'_>) -> Result<()> {
        let knock = sighting.knock;
        self.counters.events += 1;
        if !knock.has_unicast_source() {
            self.counters.not_unicast += 1;
            return Ok(());
        }
        let Some(Candidates { blocks, limited }) = self.assembler.push_sighted(sighting) else {
            self.counters.retransmissions += 1;
            return Ok(());
        };
        self.counters.sources_evicted = self.assembler.evicted();
        if limited > 0 {
            self.counters.attempts_limited += limited as u64;
            let detail = "this source has tried too many blocks".to_owned();
            self.refuse(knock.source, Reason::Rate, None, detail);
        }
        for block in &blocks {
            if let Some(order) = self.attempt(block, knock) {
                self.assembler.accept(&knock.source);
                return self
                    .keeper
                    .say(&order)
                    .await
                    .context("knockd does not hear of a knock");
            }
        }
        Ok(())
    }
}

impl SkippedLines {
    /// Counts a bad line. When it is time to warn again: how many went unsaid before it.
    fn may_warn(&mut self, now: Duration) -> Option<u64> {
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
