//! The privileged process: keeps the doors, and does what opens and closes them.
//!
//! Nothing that a stranger sends is read here. What the listener asks for comes in as
//! [`Request`](super::inner::order::Request)s and is held against the configuration; nothing waits
//! for anything.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use knockd_config::Config;
use knockd_runtime::clock::monotonic;
use knockd_types::{
    counters::Counters,
    event::{AdmissionInfo, Event},
};
use knockd_xdp::{interfaces::Watch, leases::Gate, pins::PinDir};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    catalog::Catalog,
    child::{Child, RestartBackoff},
    doors::{Doors, Task},
    exec::{Ending, Executor},
    exporter_process::ExporterProcess,
    lease_store::LeaseStore,
    origin::{Origin, Reread},
    outbox::Outbox,
    reporter::Reporter,
    resources::Source,
    sd_notify::ServiceManager,
};

/// Reports that the listener has asked for and not taken yet, at most: more than connections
/// that may ask it. A report of many doors is long.
const MAX_REPORTS: usize = 64;

/// Everything that the loop moves.
pub(crate) struct Supervisor {
    pub(crate) config: Config,
    pub(crate) source: Source,
    /// Tells when interfaces come and go, where that matters.
    pub(crate) watch: Option<Watch>,
    /// When the interfaces are looked at again although nothing is told of them.
    pub(crate) retry_interfaces: Option<Duration>,
    /// Where the configuration is read from again.
    pub(crate) origin: Option<Origin>,
    /// Configurations that were read again, and where they come from.
    pub(crate) rereads: (
        mpsc::UnboundedSender<Reread>,
        mpsc::UnboundedReceiver<Reread>,
    ),
    /// How many are being read.
    pub(crate) rereading: usize,
    /// The leases that the kernel enforces, if it does.
    pub(crate) gate: Option<Gate>,
    /// What holds the gate in force without this process, if anything does.
    pub(crate) pins: Option<PinDir>,
    /// Whether nothing is to be done, only told.
    pub(crate) dry_run: bool,
    /// Absent where there is nothing to remember.
    pub(crate) store: Option<LeaseStore>,
    /// Doors and clients, by the numbers that they have in everything else here.
    pub(crate) catalog: Catalog,
    pub(crate) doors: Doors,
    pub(crate) executor: Executor<Task>,
    pub(crate) endings: mpsc::UnboundedReceiver<(Task, Ending)>,
    pub(crate) reporter: Reporter,
    pub(crate) outbox: Outbox,
    /// The listener, and when the next one is started where there is none.
    pub(crate) child: Option<Child>,
    pub(crate) unstarted: RestartBackoff,
    /// The metrics exporter.
    pub(crate) exporter: ExporterProcess,
    /// Whether the listener has a folder for what it must not forget.
    pub(crate) can_remember: bool,
    /// Whether somebody follows, so that the kernel writes a line per knock.
    pub(crate) followed: bool,
    /// Held by whoever counts the kernel's leases.
    pub(crate) counting: Arc<Semaphore>,
    /// Held by reports on their way to the listener.
    pub(crate) reporting: Arc<Semaphore>,
    pub(crate) service_manager: ServiceManager,
    pub(crate) counters: Counters,
    pub(crate) started: Duration,
}

impl Supervisor {
    /// A keeper without a source. What it reports goes to the log, and through `outbox` to the
    /// listener. Without a `store` there must be no door that has to be closed.
    ///
    /// # Errors
    ///
    /// Commands could not be run.
    pub(crate) fn new(
        config: Config,
        store: Option<LeaseStore>,
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
            unstarted: RestartBackoff::default(),
            exporter: ExporterProcess::default(),
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
    pub(crate) fn listen(&mut self, source: Source, gate: Option<Gate>) {
        self.source = source;
        self.gate = gate;
    }

    /// Reads its configuration from `origin` again when it is asked to.
    pub(crate) fn reload_from(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }

    /// Follows interfaces that come and go, as `watch` tells.
    pub(crate) fn follow(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// From here on does nothing but tell what it would do: no command is run, no lease kept.
    pub(crate) fn dry_run(&mut self) {
        self.dry_run = true;
    }

    pub(crate) fn trouble(&self, message: String) {
        self.reporter.report(Event::Trouble { message });
    }
}

/// What has led to a door's being opened.
pub(crate) struct Entry {
    /// Who is let in.
    pub(crate) visitor: AdmissionInfo,
    /// When the last SYN of his knock came, if he knocked and it is wanted how long all takes.
    pub(crate) knocked: Option<Duration>,
}
