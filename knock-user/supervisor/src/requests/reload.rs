//! Reloads the configuration: completely or not at all.

use anyhow::Result;
use knockd_config::Config;
use knockd_ipc::message::Message;
use knockd_types::event::Event;

use crate::{
    allowed::Allowed,
    datapath::Datapath,
    listener_config::listener_config,
    reload::{Begun, Fixed, Reread, require_same},
    resources,
    state::Supervisor,
};

impl Supervisor {
    /// Starts to reload the configuration, for the `query` of an administrator or for SIGHUP.
    pub(crate) fn reload(&mut self, query: Option<u32>) {
        match self.reload.begin(query) {
            Begun::Reading => self.service_manager.reloading(),
            Begun::Busy => {
                if let Some(query) = query {
                    let busy = "too many reloads are in progress";
                    self.listener.send(Message::Answer(query, Err(busy.into())));
                }
            }
            Begun::NoOrigin => {}
        }
    }

    /// Applies a configuration that was read, if it is valid and changes nothing that requires a
    /// restart.
    pub(crate) fn reloaded(&mut self, reread: Reread) {
        let outcome = reread.config.and_then(|config| self.apply(config));
        self.reload.count(outcome.is_ok());
        match &outcome {
            Ok(()) => self.reporter.report(Event::Reloaded {
                listening: self.datapath.listening(),
            }),
            Err(error) => self
                .reporter
                .problem(format!("the old configuration stays in force: {error:#}")),
        }
        // Also after a refusal: the old configuration is in force.
        if !self.reload.is_reading() {
            self.service_manager.ready(&self.datapath.listening());
        }
        let outcome = outcome.map(|()| Vec::new());
        let outcome = outcome.map_err(|error| format!("{error:#}"));
        for query in reread.queries {
            self.listener.send(Message::Answer(query, outcome.clone()));
        }
    }

    /// # Errors
    ///
    /// Returns an error if the configuration cannot be applied. Then nothing has changed.
    fn apply(&mut self, mut config: Config) -> Result<()> {
        let fixed = Fixed {
            reads_lines: self.datapath.reads_lines(),
            has_replay_store: self.listener.has_replay_store(),
        };
        require_same(&self.config, &config, fixed)?;
        if self.is_dry_run {
            resources::force_observe(&mut config);
        }
        let store = if self.ledger.has_store() {
            None
        } else {
            resources::open_store(&config, &self.reporter)?
        };
        let ledger = &self.ledger;
        let allowed = Allowed::after(&self.config, &config);
        // The new program has no lease that the configuration does not allow.
        let leases = |datapath: &Datapath| ledger.leases_under(datapath, &allowed);
        let rings = self
            .datapath
            .replace_program(&config, !self.is_dry_run, leases)?;
        // Nothing fails after the program was replaced.
        self.ledger.configure(&config, store);
        self.ledger.revoke_disallowed(&mut self.datapath, &allowed);
        self.config = config;
        if let Err(error) = self.await_client_expiry() {
            self.reporter.problem(format!(
                "doors of clients that expire may stay open: {error}"
            ));
        }
        let changed = listener_config(&self.config, self.ledger.catalog());
        self.listener
            .send_with(Message::Change(Box::new(changed)), rings);
        self.follow_interfaces();
        Ok(())
    }
}
