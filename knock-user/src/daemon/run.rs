//! The daemon's loop: data moves from the source to the doors, and nothing waits for anything.

mod attempt;
mod catalog;
mod gate;
mod hand;
mod interfaces;
mod leases;
mod reload;
mod signals;
mod snapshot;
mod watch;

use std::{net::IpAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use anyhow::Result;
use knock_common::protocol::block::Block;
use lru::LruCache;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    auth::Authenticator,
    clock::{WallClock, monotonic, unix_ms},
    config::{Config, Expansion},
    control::Request,
    doors::{Action, Doors, Step, Task, Visit},
    exec::{Ending, Executor},
    gate::{Gate, pins::Pins},
    knock::Knock,
    metrics::latency::{Latencies, Stopwatch},
    refusals::{Reason, Refusals},
    report::{Counters, Event, Reporter},
    sequence::{Assembler, Candidates},
    service_manager::ServiceManager,
    source::{
        interfaces::Watch,
        lines::{Line, Lines},
        xdp::{Xdp, ring::Ring},
    },
    store::Store,
};

use self::{catalog::Catalog, reload::Reread, signals::Asked};
pub use self::{reload::Origin, signals::StopSignals};

/// A bad line is warned of at most this often.
const LINE_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Accepted knocks that are known, so that a further copy of one is told as such.
const COPIES_KNOWN: NonZeroUsize = match NonZeroUsize::new(1024) {
    Some(known) => known,
    None => panic!("it is above zero"),
};

/// Who opened a door that no client knocked at. No client has this name.
pub const BY_HAND: &str = "by-hand";

/// Where the daemon's knocks come from.
pub enum Source {
    /// Interfaces.
    Xdp(Box<Xdp>, Ring),
    /// Lines, and what they are called.
    Lines(Lines, PathBuf),
    /// Lines that have come to their end. Open doors are still closed in time.
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
            Self::Xdp(xdp, ring) => {
                tokio::select! {
                    read = ring.next(knocks) => read?,
                    logged = xdp.logged() => logged?,
                }
                xdp.flush_log();
                Ok(Input::Knocks)
            }
            Self::Lines(lines, _) => Ok(lines.next().await.map_or(Input::Ended, Input::Line)),
            Self::Ended => std::future::pending().await,
        }
    }
}

/// Everything that the loop moves.
pub struct Daemon {
    config: Config,
    source: Source,
    /// Tells when interfaces come and go, where that matters.
    watch: Option<Watch>,
    /// When the interfaces are looked at again although nothing is told of them.
    retry_interfaces: Option<Duration>,
    /// Where the configuration is read from again.
    origin: Option<Origin>,
    /// Configurations that were read again, and where they come from.
    rereads: (
        mpsc::UnboundedSender<Reread>,
        mpsc::UnboundedReceiver<Reread>,
    ),
    /// The leases that the kernel enforces, if it does.
    gate: Option<Gate>,
    /// What holds the gate in force without this process, if anything does.
    pins: Option<Pins>,
    /// Whether nothing is to be done, only told.
    dry_run: bool,
    assembler: Assembler,
    authenticator: Authenticator,
    /// Absent where there is nothing to remember.
    store: Option<Store>,
    /// Doors and clients, by the numbers that they have in everything else here.
    catalog: Catalog,
    /// The sealed blocks that were accepted last, from where, and when.
    accepted: LruCache<Block, (IpAddr, Duration)>,
    refusals: Refusals,
    wall_clock: WallClock,
    doors: Doors,
    executor: Executor<Task>,
    endings: mpsc::UnboundedReceiver<(Task, Ending)>,
    reporter: Reporter,
    service_manager: ServiceManager,
    counters: Counters,
    /// Where it goes how long a knock took to open its door, if anybody wants to know.
    latencies: Option<Latencies>,
    started: Duration,
    tails: usize,
    skipped_lines: SkippedLines,
}

/// Bad lines since the last warning.
#[derive(Debug, Default)]
struct SkippedLines {
    warned: Option<Duration>,
    unsaid: u64,
}

impl Daemon {
    /// A daemon that has no source yet. Without a `store` it must have no sealed clients:
    /// what cannot be remembered is not accepted.
    #[must_use]
    pub fn new(config: Config, store: Option<Store>, reporter: Reporter) -> Self {
        let limits = config.limits;
        let (executor, endings) = Executor::new(limits.commands, limits.command_timeout);
        Self {
            source: Source::Ended,
            watch: None,
            origin: None,
            rereads: mpsc::unbounded_channel(),
            retry_interfaces: None,
            gate: None,
            pins: None,
            dry_run: false,
            assembler: Assembler::new(config.sequence_timeout, limits.sources),
            authenticator: Authenticator::new(&config.clients, &config.doors),
            store,
            catalog: Catalog::new(&config),
            accepted: LruCache::new(COPIES_KNOWN),
            refusals: Refusals::default(),
            wall_clock: WallClock::new(unix_ms(), monotonic()),
            doors: Doors::new(limits.open_doors),
            executor,
            endings,
            reporter,
            service_manager: ServiceManager::from_environment(),
            counters: Counters::default(),
            latencies: None,
            started: monotonic(),
            tails: 0,
            skipped_lines: SkippedLines::default(),
            config,
        }
    }

    /// Takes its knocks from `source`, and lets people in through `gate`, if there is one.
    pub fn listen(&mut self, source: Source, gate: Option<Gate>) {
        self.source = source;
        self.gate = gate;
    }

    /// Reads its configuration from `origin` again when it is asked to.
    pub fn reload_from(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }

    /// Follows interfaces that come and go, as `watch` tells.
    pub fn follow(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// From here on does nothing but tell what it would do: no command is run, no lease kept.
    pub fn rehearse(&mut self) {
        self.dry_run = true;
    }

    /// Tells `latencies` from here on how long a knock takes to open its door.
    pub fn measure(&mut self, latencies: Latencies) {
        self.latencies = Some(latencies);
    }

    /// Runs until a signal asks it to stop or its lines have ended, and until every door is
    /// closed after that. `requests` come from the control socket.
    ///
    /// # Errors
    ///
    /// The source cannot be read any more.
    pub async fn run(
        mut self,
        mut stop: StopSignals,
        mut requests: mpsc::Receiver<Request>,
    ) -> Result<()> {
        info!("listening on {}", self.listening());
        self.service_manager.ready(&self.listening());
        let mut knocks = Vec::new();
        loop {
            if matches!(self.source, Source::Ended) && self.doors.is_empty() {
                self.sum_up_refusals();
                self.service_manager.stopping();
                return Ok(());
            }
            // In this order: a flood of events must not keep anything else waiting.
            tokio::select! {
                biased;
                asked = stop.recv() => match asked {
                    Asked::Reload => self.reread(None),
                    Asked::Stop(signal) => {
                        info!("{signal}: closing every open door, then stopping");
                        self.service_manager.stopping();
                        let gate_stays = self.gate_stays();
                        self.leave_gate();
                        self.sum_up_refusals();
                        self.close(&mut stop, gate_stays).await;
                        return Ok(());
                    }
                },
                Some(reread) = self.rereads.1.recv() => self.reread_done(reread),
                Some((task, ending)) = self.endings.recv() => self.ended(&task, &ending),
                () = sleep_until_monotonic(self.service_manager.watchdog_deadline()) => {
                    self.service_manager.feed_watchdog();
                }
                () = sleep_until_monotonic(self.doors.next_deadline()) => self.expire(),
                () = sleep_until_monotonic(self.refusals.next_deadline()) => self.sum_up_refusals(),
                Some(request) = requests.recv() => self.answer(request),
                changed = interfaces::changed(&mut self.watch) => {
                    changed?;
                    self.follow_interfaces();
                }
                () = sleep_until_monotonic(self.retry_interfaces) => self.follow_interfaces(),
                input = self.source.next(&mut knocks) => match input? {
                    Input::Knocks => {
                        for knock in knocks.drain(..) {
                            self.knock(&knock);
                        }
                    }
                    Input::Line(line) => self.line(line),
                    Input::Ended => {
                        info!("the lines have ended: waiting until every open door is closed");
                        self.source = Source::Ended;
                    }
                },
            }
        }
    }

    /// Closes the doors that a daemon before this one left open, and does nothing else. Those
    /// that the gate closes by itself are left to it.
    pub async fn close_what_is_left(self, stop: &mut StopSignals) {
        let gate_stays = self.gate.is_some();
        self.close(stop, gate_stays).await;
    }

    /// Closes every door, and does nothing else.
    pub async fn close_everything(self, stop: &mut StopSignals) {
        self.close(stop, false).await;
    }

    /// Closes every door that does not close without this process, and waits for the
    /// commands, or for a second signal.
    async fn close(mut self, stop: &mut StopSignals, gate_stays: bool) {
        let catalog = &self.catalog;
        let stays = |visit: &Visit| gate_stays && catalog.door(visit.door).close.is_none();
        for step in self.doors.stop(stays) {
            self.step(step);
        }
        while !self.doors.is_empty() {
            tokio::select! {
                Some((task, ending)) = self.endings.recv() => self.ended(&task, &ending),
                () = sleep_until_monotonic(self.service_manager.watchdog_deadline()) => {
                    self.service_manager.feed_watchdog();
                }
                signal = stop.stop() => {
                    let left = self.doors.open().count();
                    warn!("{signal} again: stopping at once; {left} doors may be open still");
                    break;
                }
            }
        }
    }

    fn line(&mut self, line: Line) {
        match line {
            Line::Knock(knock) => self.knock(&knock),
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
    }

    fn knock(&mut self, knock: &Knock) {
        self.counters.events += 1;
        if !knock.has_unicast_source() {
            self.counters.not_unicast += 1;
            return;
        }
        let Some(Candidates { blocks, limited }) = self.assembler.push(knock) else {
            self.counters.retransmissions += 1;
            return;
        };
        self.counters.sources_evicted = self.assembler.evicted();
        if limited > 0 {
            self.counters.attempts_limited += limited as u64;
            let detail = "this source has tried too many blocks".to_owned();
            self.refuse(knock.source, Reason::Rate, None, detail);
        }
        for block in &blocks {
            if self.attempt(block, knock) {
                self.assembler.accept(&knock.source);
                return;
            }
        }
    }

    /// Does `task`: the gate first, then the command. `knocked` runs if it is a knock that has
    /// led to it.
    fn start(&mut self, task: &Task, knocked: Option<Stopwatch>) {
        let visit = task.visit;
        let door = self.catalog.door(visit.door);
        let (name, template) = match task.action {
            Action::Open => ("run", door.run.as_ref()),
            Action::Close => ("close", door.close.as_ref()),
        };
        let label = format!("{name} of door {:?} for {}", door.name, visit.source);
        let command = template.map(|template| {
            template.expand(&Expansion {
                source: visit.source,
                door: &door.name,
                client: self.catalog.client(task.client),
                seconds: task.lease.as_secs(),
            })
        });
        match task.action {
            Action::Open => {
                if !self.open_gate(visit) {
                    self.doors.forget(visit);
                    return self.end_lease(visit);
                }
                if let Some(knocked) = &knocked
                    && !self.keys(visit).is_empty()
                {
                    knocked.gate_opened();
                }
            }
            Action::Close => self.close_gate(visit),
        }
        match command {
            Some(command) if self.dry_run => {
                info!(
                    "would run {label}: {:?} {:?}",
                    command.program, command.arguments
                );
                self.done(task, true);
            }
            Some(command) => self.executor.start(*task, label, command, move || {
                if let Some(knocked) = knocked {
                    knocked.command_started();
                }
            }),
            None => self.done(task, true),
        }
    }

    /// Hears that the command of `task` has ended.
    fn ended(&mut self, task: &Task, ending: &Ending) {
        let ok = ending.succeeded();
        if ok {
            self.counters.commands_succeeded += 1;
        } else {
            self.counters.commands_failed += 1;
        }
        let step = self.finish(task, ok);
        self.reporter.report(Event::Command {
            door: self.catalog.door(task.visit.door).name.clone(),
            source: task.visit.source,
            command: match task.action {
                Action::Open => "run".into(),
                Action::Close => "close".into(),
            },
            ending: ending.to_string(),
            ok,
        });
        if let Some(step) = step {
            self.step(step);
        }
    }

    fn done(&mut self, task: &Task, ok: bool) {
        if let Some(step) = self.finish(task, ok) {
            self.step(step);
        }
    }

    fn finish(&mut self, task: &Task, ok: bool) -> Option<Step> {
        let step = self.doors.finished(task.visit, ok, monotonic());
        if step.is_none() {
            // Told only when it is on disk that the door is open.
            self.keep_lease(task.visit);
        }
        step
    }

    fn expire(&mut self) {
        let now = monotonic();
        while let Some(visit) = self.doors.due(now) {
            if let Some(until) = self.in_use_until(visit, now) {
                self.doors.prolong(visit, until);
                self.keep_lease(visit);
            } else if let Some(step) = self.doors.expire(now) {
                self.step(step);
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Start(task) => {
                if task.action == Action::Open {
                    self.keep_lease(task.visit);
                }
                self.start(&task, None);
            }
            Step::Closed(visit) => {
                self.end_lease(visit);
                self.reporter.report(Event::Closed {
                    door: self.catalog.door(visit.door).name.clone(),
                    source: visit.source,
                });
            }
            // It stays on disk: the next start tries again.
            Step::GaveUp(visit) => {
                self.counters.closings_given_up += 1;
                self.trouble(format!(
                    "door {:?} may still be open to {}: its closing command failed, and is run again at the next start",
                    self.catalog.door(visit.door).name, visit.source
                ));
            }
        }
    }

    fn trouble(&self, message: String) {
        self.reporter.report(Event::Trouble { message });
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

/// Waits until `deadline` on the clock of [`monotonic`]; for ever without one.
async fn sleep_until_monotonic(deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => {
            let wait = deadline.saturating_sub(monotonic());
            sleep_until(Instant::now() + wait).await;
        }
        None => std::future::pending().await,
    }
}
