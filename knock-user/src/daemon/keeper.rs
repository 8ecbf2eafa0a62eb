//! The privileged process: keeps the doors, and does what opens and closes them.
//!
//! Nothing that a stranger sends is read here. What the listener asks for comes in as
//! [`Order`](super::inner::order::Order)s and is held against the configuration; nothing waits
//! for anything.

mod catalog;
mod child;
mod gate;
mod interfaces;
mod leases;
mod orders;
mod reload;
mod report;
mod signals;
mod tasks;

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::sync::{Semaphore, mpsc};
use tracing::{info, warn};

use super::{
    clock::{monotonic, sleep_until_monotonic},
    config::Config,
    control::server::Socket,
    doors::{Doors, Task, Visit},
    exec::{Ending, Executor},
    gate::{Gate, pins::Pins},
    inner::{Heard, outbox::Outbox, told::Told},
    report::{Counters, Event, Reporter},
    service_manager::ServiceManager,
    source::{interfaces::Watch, xdp::Xdp},
    store::leases::Leases,
};

use self::{
    catalog::Catalog,
    child::{Child, Unstarted},
    reload::Reread,
    signals::Asked,
    tasks::Entry,
};
pub use self::{reload::Origin, signals::StopSignals};

/// Reports that the listener has asked for and not taken yet, at most: more than connections
/// that may ask it. A report of many doors is long.
const MAX_REPORTS: usize = 64;

/// Who opened a door that no client knocked at. No client has this name.
pub const BY_HAND: &str = "by-hand";

/// Where the listener's knocks come from.
pub enum Source {
    /// Interfaces.
    Xdp(Box<Xdp>),
    /// Lines, open, and what they are called.
    Lines(OwnedFd, PathBuf),
    /// Lines that have come to their end. Open doors are still closed in time.
    Ended,
}

impl Source {
    /// Waits until the kernel has logged something.
    async fn logged(&mut self) -> Result<()> {
        match self {
            Self::Xdp(xdp) => Ok(xdp.logged().await?),
            Self::Lines(..) | Self::Ended => std::future::pending().await,
        }
    }
}

/// What was opened for the listener.
#[derive(Debug)]
pub struct Sockets {
    /// The control socket.
    pub control: Socket,
    /// The HTTP server's socket, if metrics are to be had.
    pub metrics: Option<OwnedFd>,
}

/// Everything that the loop moves.
pub struct Keeper {
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
    /// How many are being read.
    rereading: usize,
    /// The leases that the kernel enforces, if it does.
    gate: Option<Gate>,
    /// What holds the gate in force without this process, if anything does.
    pins: Option<Pins>,
    /// Whether nothing is to be done, only told.
    dry_run: bool,
    /// Absent where there is nothing to remember.
    store: Option<Leases>,
    /// Doors and clients, by the numbers that they have in everything else here.
    catalog: Catalog,
    doors: Doors,
    executor: Executor<Task>,
    endings: mpsc::UnboundedReceiver<(Task, Ending)>,
    reporter: Reporter,
    outbox: Outbox,
    /// The listener, and when the next one is started where there is none.
    child: Option<Child>,
    unstarted: Unstarted,
    /// Whether the listener has a folder for what it must not forget.
    can_remember: bool,
    /// Whether somebody follows, so that the kernel writes a line per knock.
    followed: bool,
    /// Held by whoever counts the kernel's leases.
    counting: Arc<Semaphore>,
    /// Held by reports on their way to the listener.
    reporting: Arc<Semaphore>,
    service_manager: ServiceManager,
    counters: Counters,
    started: Duration,
}

impl Keeper {
    /// A keeper without a source. What it reports goes to the log, and through `outbox` to the
    /// listener. Without a `store` there must be no door that has to be closed.
    ///
    /// # Errors
    ///
    /// Commands could not be run.
    pub fn new(
        config: Config,
        store: Option<Leases>,
        reporter: Reporter,
        outbox: Outbox,
    ) -> Result<Self> {
        let limits = config.limits;
        let (executor, endings) = Executor::new(limits.commands, limits.command_timeout)?;
        Ok(Self {
            source: Source::Ended,
            watch: None,
            origin: None,
            rereads: mpsc::unbounded_channel(),
            rereading: 0,
            retry_interfaces: None,
            gate: None,
            pins: None,
            dry_run: false,
            store,
            catalog: Catalog::new(&config),
            doors: Doors::new(limits.open_doors),
            executor,
            endings,
            reporter,
            outbox,
            child: None,
            unstarted: Unstarted::default(),
            can_remember: false,
            followed: false,
            counting: Arc::new(Semaphore::new(1)),
            reporting: Arc::new(Semaphore::new(MAX_REPORTS)),
            service_manager: ServiceManager::from_environment(),
            counters: Counters::default(),
            started: monotonic(),
            config,
        })
    }

    /// Has the listener take its knocks from `source`, and lets people in through `gate`, if
    /// there is one.
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

    /// Starts the listener and runs until a signal asks it to stop or the lines have ended, and
    /// until every door is closed after that.
    ///
    /// # Errors
    ///
    /// The listener could not be started, or the source cannot be watched any more.
    pub async fn run(mut self, mut stop: StopSignals, sockets: Sockets) -> Result<()> {
        let result = self.serve(&mut stop, &sockets).await;
        self.sum_up(&mut stop, result.is_ok()).await;
        result
    }

    /// Serves until it is to stop.
    async fn serve(&mut self, stop: &mut StopSignals, sockets: &Sockets) -> Result<()> {
        self.start_listener(sockets)?;
        loop {
            if matches!(self.source, Source::Ended) && self.doors.is_empty() {
                return Ok(());
            }
            let watchdog = self.watchdog_deadline();
            // In this order: what strangers bring about must not keep anything else waiting.
            tokio::select! {
                biased;
                asked = stop.recv() => match asked {
                    Asked::Reload => self.reread(None),
                    Asked::Stop(signal) => {
                        info!("{signal}: closing every open door, then stopping");
                        return Ok(());
                    }
                },
                Some(reread) = self.rereads.1.recv() => self.reread_done(reread),
                Some((task, ending)) = self.endings.recv() => self.ended(&task, &ending),
                () = sleep_until_monotonic(watchdog) => self.feed_watchdog(),
                () = sleep_until_monotonic(self.doors.next_deadline()) => self.expire(),
                changed = interfaces::changed(&mut self.watch) => {
                    changed?;
                    self.follow_interfaces();
                }
                () = sleep_until_monotonic(self.retry_interfaces) => self.follow_interfaces(),
                () = sleep_until_monotonic(self.unstarted.next_start()) => {
                    self.start_listener(sockets)?;
                }
                heard = child::hear(&self.child) => match heard? {
                    Heard::Order(order) => self.obey(order),
                    Heard::Garbled(garbled) => self.dismiss(&garbled),
                    Heard::Gone => self.bury().await?,
                },
                logged = self.source.logged() => {
                    logged?;
                    self.flush_kernel_log();
                }
            }
        }
    }

    /// Closes what has to be closed, and lets the listener go. The gate goes too if it is to.
    async fn sum_up(&mut self, stop: &mut StopSignals, leaves_gate: bool) {
        self.service_manager.stopping();
        let gate_stays = self.gate_stays();
        if leaves_gate {
            self.leave_gate();
        }
        self.close(stop, gate_stays).await;
        if let Some(child) = self.child.take() {
            child.dismiss().await;
        }
    }

    /// Closes the doors that a daemon before this one left open, and does nothing else. Those
    /// that the gate closes by itself are left to it.
    pub async fn close_what_is_left(mut self, stop: &mut StopSignals) {
        let gate_stays = self.gate.is_some();
        self.close(stop, gate_stays).await;
    }

    /// Closes every door, and does nothing else.
    pub async fn close_everything(mut self, stop: &mut StopSignals) {
        self.close(stop, false).await;
    }

    /// Closes every door that does not close without this process, and waits for the
    /// commands, or for a second signal.
    async fn close(&mut self, stop: &mut StopSignals, gate_stays: bool) {
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

    /// Nothing is heard of a daemon that is not ready yet.
    fn watchdog_deadline(&self) -> Option<Duration> {
        self.service_manager
            .watchdog_deadline()
            .filter(|_| self.unstarted.was_ready())
    }

    /// The watchdog hears of this process alone, which looks after the listener in the same
    /// time: one that has not answered is ended, and another one started.
    fn feed_watchdog(&mut self) {
        self.service_manager.feed_watchdog();
        if self.child.as_mut().is_none_or(Child::answers) {
            self.tell(Told::Ping);
        } else {
            self.dismiss(&"it does not answer");
        }
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

    fn trouble(&self, message: String) {
        self.reporter.report(Event::Trouble { message });
    }
}
