//! The listener, as the keeper sees it: started without rights, started again when it dies,
//! and ended when it says what it may not.

use std::{
    fmt, fs,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};

use anyhow::{Result, bail};
use knockd_ipc::message::{Message, StartupConfig};
use knockd_runtime::{clock::monotonic, log};
use knockd_types::{account::Account, names::KNOCKS_FOLDER};
use rustix::process::geteuid;
use tokio::time::timeout;
use tracing::{error, info};

use crate::{
    child::{Child, LEAVING_TIME, STEADY, account, prepare_folder, spawn, terms},
    resources::{Sockets, Source},
    state::Supervisor,
};

impl Supervisor {
    /// Starts the listener. If there was one before, and this one cannot be started, it is tried
    /// again later.
    ///
    /// # Errors
    ///
    /// The first one cannot be started.
    pub(crate) fn start_listener(&mut self, sockets: &Sockets) -> Result<()> {
        self.unstarted.next = None;
        match self.try_to_start(sockets) {
            Err(error) if self.unstarted.was_ready => {
                let delay = self.unstarted.plan_next(false);
                error!("{error:#}; tried again in {} s", delay.as_secs());
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn try_to_start(&mut self, sockets: &Sockets) -> Result<()> {
        let account = account(&self.config)?;
        let folder = self.store_folder(account.as_ref());
        self.can_remember = folder.is_some();
        let (end, process) = spawn(account.as_ref())?;
        let end = Arc::new(end);
        let messages = self.outbox.open();
        let mut files = vec![sockets.control.as_fd().try_clone_to_owned()?];
        files.push(match &self.source {
            Source::Xdp(xdp) => xdp.events()?,
            Source::Lines(lines, _) => lines.try_clone()?,
            Source::Ended => fs::File::open("/dev/null")?.into(),
        });
        let beginning = StartupConfig {
            log: log::chosen(),
            terms: terms(&self.config, &self.catalog),
            reads_lines: !matches!(self.source, Source::Xdp(_)),
            store: folder
                .is_some()
                .then(|| self.config.state_dir.join(KNOCKS_FOLDER)),
            owner: geteuid().as_raw(),
            started: self.started,
        };
        files.extend(folder);
        self.outbox
            .send_with(Message::Begin(Box::new(beginning)), files)?;
        self.child = Some(Child {
            process,
            delivery: tokio::spawn(messages.deliver(Arc::clone(&end))),
            end,
            started: monotonic(),
            is_ready: false,
            answered: true,
            is_killed: false,
        });
        self.start_exporter();
        Ok(())
    }

    /// Hears that the listener reads what comes.
    pub(crate) fn listener_is_ready(&mut self) {
        if let Some(child) = &mut self.child {
            child.is_ready = true;
        }
        let listening = self.listening();
        if self.unstarted.was_ready {
            info!("the network-facing process listens again on {listening}");
        } else {
            info!("listening on {listening}");
            self.service_manager.ready(&listening);
        }
        self.unstarted.was_ready = true;
        // Whoever followed has to begin anew.
        self.set_kernel_log(false);
    }

    /// Tells the listener something that it has to take.
    pub(crate) fn send(&mut self, told: Message) {
        if let Err(stuck) = self.outbox.send(told) {
            self.kill(&stuck);
        }
    }

    /// Ends a listener that does what it may not. [`Received::Closed`] comes of that.
    pub(crate) fn kill(&mut self, why: &dyn fmt::Display) {
        let Some(child) = self.child.as_mut().filter(|child| !child.is_killed) else {
            return;
        };
        child.is_killed = true;
        error!("the network-facing process is ended: {why}");
        // Where it must not be killed it dies by what it is cut off from.
        let _ = child.process.start_kill();
        child.end.shutdown();
    }

    /// Hears that the listener has gone, and plans the next.
    ///
    /// # Errors
    ///
    /// There never was one that was ready: its reason is in the log.
    pub(crate) async fn reap(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.delivery.abort();
        let ended = match timeout(LEAVING_TIME, child.process.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it hangs".into(),
        };
        if !child.is_ready && !self.unstarted.was_ready {
            bail!("the network-facing process did not start: {ended}");
        }
        let was_steady = monotonic() >= child.started + STEADY;
        let delay = self.unstarted.plan_next(was_steady);
        error!(
            "the network-facing process has ended ({ended}); the next is started in {} s, open doors stay as they are",
            delay.as_secs()
        );
        self.counters.listener_restarts += 1;
        Ok(())
    }

    /// The folder of the listener's store, if it needs one, or may need one after a reload.
    /// Without it sealed knocks are refused.
    fn store_folder(&self, account: Option<&Account>) -> Option<OwnedFd> {
        let needed = self.config.has_sealed_clients();
        if !needed && !self.config.state_dir.is_dir() {
            return None;
        }
        prepare_folder(&self.config.state_dir, account)
            .inspect_err(|error| {
                if needed {
                    self.trouble(format!(
                        "sealed knocks are refused, since they cannot be remembered: {error:#}"
                    ));
                }
            })
            .ok()
    }
}
