//! The supervisor's event loop: passes each event to the part that handles it.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::Result;
use knockd_ipc::{
    channel::Received,
    message::{Message, StartupConfig},
};
use knockd_runtime::{account, clock::sleep_until_monotonic, log};
use knockd_types::names::KNOCKS_FOLDER;
use rustix::process::geteuid;
use tracing::{info, warn};

use crate::{
    allowed::Allowed,
    child,
    helper_process::HelperEvent,
    listener_config::listener_config,
    listener_process::Launch,
    resources::Sockets,
    signals::{SignalRequest, StopSignals},
    state::Supervisor,
};

/// Why the daemon ends.
enum Exit {
    /// A signal asked for it, or the lines have ended.
    Asked,
    /// After it was ready.
    Failed,
    /// Before it was ready.
    NeverReady,
}

impl Supervisor {
    /// Starts the listener and runs until a signal stops the daemon or the lines have ended, and
    /// then until every door is closed.
    ///
    /// # Errors
    ///
    /// Returns an error if the first listener cannot be started, or if a source of events fails.
    pub(crate) async fn run(mut self, mut stop: StopSignals, sockets: Sockets) -> Result<()> {
        let result = self.serve(&mut stop, &sockets).await;
        let exit = match &result {
            Ok(()) => Exit::Asked,
            Err(_) if self.listener.was_ready() => Exit::Failed,
            Err(_) => Exit::NeverReady,
        };
        self.shut_down(&mut stop, exit).await;
        result
    }

    async fn serve(&mut self, stop: &mut StopSignals, sockets: &Sockets) -> Result<()> {
        self.start_listener(sockets)?;
        self.client_expiry.wait_for_next(&self.config)?;
        loop {
            if self.datapath.has_ended() && self.ledger.is_empty() {
                return Ok(());
            }
            // A daemon that is not ready sends no keep-alive messages.
            let watchdog = self.service_manager.watchdog_deadline();
            let watchdog = watchdog.filter(|_| self.listener.was_ready());
            let expiry = self.ledger.next_deadline();
            let retry = self.datapath.retry_at();
            let store = self.replay_dir.retry_at();
            let start = self.listener.next_start();
            let (interfaces, kernel_log) = self.datapath.events();
            // In this order, so that untrusted network input delays nothing else.
            tokio::select! {
                biased;
                request = stop.recv() => match request {
                    SignalRequest::Reload => self.reload(None),
                    SignalRequest::Stop(signal) => {
                        info!("{signal}: closing every open door, then stopping");
                        return Ok(());
                    }
                },
                Some(reread) = self.reload.next() => self.reloaded(reread),
                Some((task, ending)) = self.ledger.next_ending() => {
                    self.ledger.ended(&mut self.datapath, &task, &ending);
                }
                () = sleep_until_monotonic(watchdog) => {
                    self.service_manager.feed_watchdog();
                    self.listener.ping();
                }
                () = sleep_until_monotonic(expiry) => self.ledger.expire(&mut self.datapath),
                due = self.client_expiry.due() => {
                    due?;
                    self.expire_clients()?;
                }
                changed = interfaces => {
                    changed?;
                    self.follow_interfaces();
                }
                () = sleep_until_monotonic(retry) => self.follow_interfaces(),
                () = sleep_until_monotonic(store) => self.replay_dir.retry(),
                () = sleep_until_monotonic(start) => self.start_listener(sockets)?,
                received = self.listener.recv() => match received? {
                    Received::Request(request) => self.handle_request(request),
                    Received::Invalid(invalid) => self.listener.kill(&invalid),
                    Received::Closed => self.listener.reap().await?,
                },
                event = self.exporter.process.next_event() => self.handle_exporter(event),
                event = self.fleet.process.next_event() => self.handle_fleet(event),
                logged = kernel_log => {
                    logged?;
                    self.datapath.flush_kernel_log();
                }
            }
        }
    }

    /// Closes what the clients have open that have expired.
    fn expire_clients(&mut self) -> Result<()> {
        let allowed = Allowed::by(&self.config);
        self.ledger.revoke_disallowed(&mut self.datapath, &allowed);
        self.client_expiry.wait_for_next(&self.config)?;
        Ok(())
    }

    fn start_listener(&mut self, sockets: &Sockets) -> Result<()> {
        // Each is connected to one listener.
        self.exporter.process.wait_for_listener();
        self.fleet.process.wait_for_listener();
        let Self {
            listener,
            config,
            datapath,
            ledger,
            replay_dir,
            reporter,
            started,
            ..
        } = self;
        let is_first = !listener.was_ready();
        listener.start(|| {
            let account = child::account(config)?;
            // Later, a process that has nothing to do with knockd must not keep clients out.
            if let Some(account) = account.as_ref().filter(|_| is_first) {
                account::require_unused(account)?;
            }
            let replay_dir = replay_dir.open(config, account.as_ref(), reporter);
            let store = config.state_dir.join(KNOCKS_FOLDER);
            let startup = StartupConfig {
                log: log::chosen(),
                config: listener_config(config, ledger.catalog()),
                reads_lines: datapath.reads_lines(),
                store: replay_dir.is_some().then_some(store),
                owner: geteuid().as_raw(),
                started: *started,
            };
            let control = sockets.control.as_fd().try_clone_to_owned()?;
            let mut files = vec![control];
            files.extend(datapath.input()?);
            let root = replay_dir.as_ref().map(OwnedFd::try_clone).transpose()?;
            files.extend(replay_dir);
            Ok(Launch {
                account,
                root,
                startup,
                files,
            })
        })?;
        // Each is connected to one listener, so a new listener needs new ones.
        self.start_exporter();
        self.start_fleet();
        Ok(())
    }

    /// Starts the exporter, if there is to be one, and gives the listener its end of the channel.
    fn start_exporter(&mut self) {
        if !self.listener.is_running() {
            self.exporter.process.wait_for_listener();
        } else if let Some(channel) = self.exporter.start(&self.config) {
            self.listener.send_with(Message::Exporter, vec![channel]);
        }
    }

    /// Handles an event of the exporter.
    fn handle_exporter(&mut self, event: HelperEvent) {
        match event {
            HelperEvent::Exited(status) if self.listener.is_running() => {
                self.exporter.process.reap(status);
            }
            HelperEvent::Exited(_) => self.exporter.process.wait_for_listener(),
            HelperEvent::Due => self.start_exporter(),
        }
    }

    /// Starts the fleet process, if there is to be one, and gives the listener its end of the channel.
    fn start_fleet(&mut self) {
        if !self.listener.is_running() {
            self.fleet.process.wait_for_listener();
        } else if let Some(channel) = self.fleet.start(&self.config) {
            self.listener.send_with(Message::Fleet, vec![channel]);
        }
    }

    /// Handles an event of the fleet process.
    fn handle_fleet(&mut self, event: HelperEvent) {
        match event {
            HelperEvent::Exited(status) if self.listener.is_running() => {
                self.fleet.process.reap(status);
            }
            HelperEvent::Exited(_) => self.fleet.process.wait_for_listener(),
            HelperEvent::Due => self.start_fleet(),
        }
    }

    /// Closes the doors that have to be closed, stops the listener, and removes a gate that does not
    /// stay in force. After a failure the gate stays, except after a start that failed: then it is
    /// as it was before.
    async fn shut_down(&mut self, stop: &mut StopSignals, exit: Exit) {
        self.service_manager.stopping();
        self.listener.stopping();
        let gate_stays = match exit {
            Exit::Asked => self.datapath.leave_gate(&self.config),
            Exit::Failed => self.datapath.keep_gate(),
            Exit::NeverReady => self.datapath.undo_start(),
        };
        self.close_doors(stop, gate_stays).await;
        self.listener.stop().await;
        self.exporter.process.stop().await;
        self.fleet.process.stop().await;
    }

    /// Only closes the doors that a previous daemon left open. If `gate_stays`, doors without a closing
    /// command are left to the gate, and stay in the journal.
    pub(crate) async fn close_restored(mut self, stop: &mut StopSignals, gate_stays: bool) {
        self.close_doors(stop, gate_stays).await;
    }

    /// Only closes every door.
    pub(crate) async fn close_all(mut self, stop: &mut StopSignals) {
        self.close_doors(stop, false).await;
    }

    /// Closes every door that does not close without this process, and waits for the commands, or
    /// for a second signal.
    async fn close_doors(&mut self, stop: &mut StopSignals, gate_stays: bool) {
        self.ledger.close_all(&mut self.datapath, gate_stays);
        while !self.ledger.is_empty() {
            let watchdog = self.service_manager.watchdog_deadline();
            tokio::select! {
                Some((task, ending)) = self.ledger.next_ending() => {
                    self.ledger.ended(&mut self.datapath, &task, &ending);
                }
                () = sleep_until_monotonic(watchdog) => self.service_manager.feed_watchdog(),
                signal = stop.stop() => {
                    let left = self.ledger.open_doors().count();
                    warn!("{signal} again: stopping at once; {left} doors may still be open");
                    break;
                }
            }
        }
    }
}
