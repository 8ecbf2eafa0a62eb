//! The state of the supervisor.
//!
//! The supervisor never reads untrusted network input. It receives the requests of the listener,
//! checks them against the configuration, and waits for nothing outside its event loop.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use knockd_config::Config;
use knockd_runtime::{clock::monotonic, isolation};
use knockd_types::counters::Counters;
use knockd_xdp::leases::Gate;
use tokio::sync::Semaphore;

use crate::{
    client_expiry::ClientExpiry, datapath::Datapath, exporter_process::ExporterProcess,
    fleet_process::FleetProcess, lease_store::LeaseStore, ledger::Ledger,
    listener_process::ListenerProcess, outbox::Outbox, reload::Reload, replay_dir::ReplayDir,
    reporter::Reporter, sd_notify::ServiceManager,
};

/// The maximum number of reports that wait in the queue of the listener: more than it has
/// connections that may request one. The limit bounds memory, since a report of many doors is long.
const MAX_REPORTS: usize = 64;

/// The four parts of the supervisor, the optional processes, and their shared state.
pub(crate) struct Supervisor {
    pub(crate) config: Config,
    /// Whether nothing is executed, only logged.
    pub(crate) is_dry_run: bool,
    pub(crate) listener: ListenerProcess,
    pub(crate) exporter: ExporterProcess,
    pub(crate) fleet: FleetProcess,
    pub(crate) datapath: Datapath,
    pub(crate) ledger: Ledger,
    pub(crate) replay_dir: ReplayDir,
    pub(crate) reload: Reload,
    pub(crate) client_expiry: ClientExpiry,
    pub(crate) reporter: Reporter,
    pub(crate) service_manager: ServiceManager,
    /// The counters that belong to none of the parts.
    pub(crate) counters: Counters,
    /// Permits of reports on their way to the listener.
    pub(crate) reports: Arc<Semaphore>,
    /// Permit of the report that counts the kernel's leases.
    pub(crate) counting: Arc<Semaphore>,
    /// The time at which the daemon started, on the monotonic clock.
    pub(crate) started: Duration,
}

impl Supervisor {
    /// A supervisor without a source. Its messages to the listener go through `outbox`. Without a
    /// `store` the configuration must have no door that has to be closed. Children that are started
    /// from now on inherit neither a terminal nor open files.
    ///
    /// # Errors
    ///
    /// Returns an error if commands cannot be run, or if there is no timer.
    pub(crate) fn new(
        config: Config,
        store: Option<LeaseStore>,
        reporter: Reporter,
        outbox: Outbox,
    ) -> Result<Self> {
        let mut ledger = Ledger::new(&config, store, reporter.clone())?;
        isolation::keep_files()?;
        if !isolation::leave_terminal() {
            ledger.use_own_sessions();
        }
        Ok(Self {
            is_dry_run: false,
            listener: ListenerProcess::new(outbox),
            exporter: ExporterProcess::new(None),
            fleet: FleetProcess::new(),
            datapath: Datapath::new(reporter.clone()),
            ledger,
            replay_dir: ReplayDir::default(),
            reload: Reload::new(),
            client_expiry: ClientExpiry::new()?,
            reporter,
            service_manager: ServiceManager::from_environment(),
            counters: Counters::default(),
            reports: Arc::new(Semaphore::new(MAX_REPORTS)),
            counting: Arc::new(Semaphore::new(1)),
            started: monotonic(),
            config,
        })
    }

    /// Switches to a dry run: actions are only logged, no command is run and nothing is pinned.
    pub(crate) fn dry_run(&mut self) {
        self.is_dry_run = true;
        self.ledger.dry_run();
    }

    /// Restores the doors that a previous daemon left open, with the leases of its gate.
    pub(crate) fn restore_leases(&mut self, previous: Option<&Gate>) {
        let restored = self
            .ledger
            .restore(&self.config, &mut self.datapath, previous);
        if let (false, Some(previous)) = (restored, previous) {
            self.datapath.adopt_leases(previous);
        }
    }

    /// Updates the attachments after interfaces have appeared or disappeared.
    pub(crate) fn follow_interfaces(&mut self) {
        if self.datapath.follow_interfaces(&self.config.interfaces) {
            self.service_manager.listening(&self.datapath.listening());
        }
    }

    /// The sum of the counters of all parts.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
            .with(&self.listener.counters())
            .with(&self.datapath.counters())
            .with(&self.ledger.counters())
            .with(&self.reload.counters())
    }
}
