//! From a process that was just started to one that listens, and can do nothing else.

pub mod assembler;
mod attempt;
pub mod auth;
mod control;
mod event_loop;
mod log_limit;
mod metrics;
mod pending;
mod queries;
mod query;
mod replay_store;
pub mod source;
mod state;
pub mod tails;

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
use knockd_ipc::{
    channel::ListenerEnd,
    message::{Message, StartupConfig},
};
use knockd_runtime::{
    clock::{WallClock, monotonic, unix_ms},
    log,
    sandbox::Sandbox,
};
use knockd_types::counters::Counters;
use lru::LruCache;
use rustix::{
    process::{
        DumpableBehavior, Signal, fchdir, set_dumpable_behavior, set_parent_process_death_signal,
    },
    thread::set_name,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

pub use knockd_ipc::channel::LISTENER_NAME as NAME;

use self::{
    assembler::Assembler,
    auth::Authenticator,
    control::Server,
    log_limit::Refusals,
    metrics::exporter::Exporter,
    pending::PendingQueries,
    source::{lines::Lines, ring::Ring},
    state::{COPIES_KNOWN, Listener, SkippedLines, Source},
    tails::Reporter,
};

/// The listener's whole life. Ends when the keeper does.
///
/// # Errors
///
/// It was not started by knockd, or could not give its rights up, or its source broke.
pub fn main() -> Result<()> {
    // It was started by the path of its program, which is no name.
    set_name(c"knockd-listener")?;
    // The keys come here: no core file, and nobody but root looks into this process.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        ignore_signals()?;
        let mut keeper = ListenerEnd::from_stdin()?;
        let Some((Message::Begin(beginning), files)) = keeper.recv().await? else {
            bail!("knockd ended at once");
        };
        listen(keeper, *beginning, files).await
    })
}

/// Signals are for the keeper, which closes the doors first; a terminal sends them to both.
fn ignore_signals() -> Result<()> {
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        // With a handler the signal ends nothing, also when nobody waits for it any more.
        drop(signal(kind)?);
    }
    Ok(())
}

async fn listen(keeper: ListenerEnd, beginning: StartupConfig, files: Vec<OwnedFd>) -> Result<()> {
    log::init_like(&beginning.log);
    let mut files = files.into_iter();
    let mut file = || files.next().context("a file is missing");
    let server = Server::from_listener(file()?, beginning.owner)?;
    let terms = beginning.config;
    let input = file()?;
    let folder = match &beginning.store {
        Some(_) => Some(file()?),
        None => None,
    };
    let exporter = match beginning.metrics {
        true => Some(Exporter::from_listener(file()?)?),
        false => None,
    };
    let reporter = Reporter::default();
    if let Some(folder) = &folder {
        fchdir(folder)?;
    }
    // A ring is opened outside, where the size of a page can be asked for. It is not read yet.
    let (ring, lines) = if beginning.reads_lines {
        (None, Some(input))
    } else {
        (Some(Ring::open(input)?), None)
    };
    // From here on what strangers send may come.
    Sandbox::new(folder.as_ref())?.enter()?;
    let source = match (ring, lines) {
        (Some(ring), _) => Source::Ring(Box::new(ring)),
        (None, Some(lines)) => Source::Lines(Lines::read(lines, terms.window())?),
        (None, None) => Source::Ended,
    };
    // Requests wait their turn behind the knocks; a few may queue.
    let (sender, requests) = mpsc::channel(16);
    let latencies = exporter.as_ref().map(Exporter::latencies);
    if let Some(exporter) = exporter {
        tokio::spawn(exporter.serve(sender.clone()));
    }
    tokio::spawn(server.serve(sender));
    let mut listener = Listener {
        keeper,
        source,
        assembler: Assembler::new(terms.sequence_timeout, terms.sources),
        authenticator: Authenticator::new(&terms.auth),
        terms,
        store: None,
        store_folder: beginning.store,
        accepted: LruCache::new(COPIES_KNOWN),
        refusals: Refusals::default(),
        wall_clock: WallClock::new(unix_ms(), monotonic()),
        reporter,
        counters: Counters::default(),
        latencies,
        questions: PendingQueries::default(),
        started: beginning.started,
        tails: 0,
        notified: false,
        skipped_lines: SkippedLines::default(),
    };
    listener.open_store()?;
    listener.run(requests).await
}
