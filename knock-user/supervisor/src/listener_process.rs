//! The listener process: its start and restarts, its phase, and the messages to it.
//!
//! There is at most one listener. It is killed as soon as it sends something that is invalid or not
//! allowed in its phase, or does not read its messages. After an exit the next one is started at
//! [`ListenerProcess::next_start`]. If no listener was ever ready, the daemon fails instead.

use std::{fmt, future, os::fd::OwnedFd, process::Stdio, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use knockd_ipc::{
    channel::{LISTENER_NAME, Received, SupervisorEnd},
    message::{Message, StartupConfig},
    phase::Phase,
    request::{InvalidRequest, Request},
};
use knockd_runtime::clock::monotonic;
use knockd_types::{account::Account, counters::Counters};
use tokio::{process::Child as Process, sync::OwnedSemaphorePermit, task::JoinHandle};
use tracing::error;

use crate::{
    backoff::RestartBackoff,
    child,
    outbox::{Outbox, Stuck},
};

/// The listener process, or the wait for the next one.
#[derive(Debug)]
pub(crate) struct ListenerProcess {
    outbox: Outbox,
    running: Option<Running>,
    backoff: RestartBackoff,
    /// Whether a listener was ever ready.
    was_ready: bool,
    /// Whether the last one got a directory for its replay store.
    has_replay_store: bool,
    counters: Counters,
}

/// A listener that was started.
#[derive(Debug)]
struct Running {
    process: Process,
    end: Arc<SupervisorEnd>,
    delivery: JoinHandle<()>,
    started: Duration,
    phase: Phase,
    /// Whether it has answered the last ping.
    has_answered: bool,
    /// Whether it was killed: its requests that are still in the socket are discarded.
    is_killed: bool,
}

/// The startup configuration of a listener.
pub(crate) struct Launch {
    pub(crate) account: Option<Account>,
    /// The directory of the replay store.
    pub(crate) root: Option<OwnedFd>,
    pub(crate) startup: StartupConfig,
    /// The file descriptors of `startup`.
    pub(crate) files: Vec<OwnedFd>,
}

impl ListenerProcess {
    /// No listener. Messages to it go through `outbox`.
    pub(crate) fn new(outbox: Outbox) -> Self {
        Self {
            outbox,
            running: None,
            backoff: RestartBackoff::default(),
            was_ready: false,
            has_replay_store: false,
            counters: Counters::default(),
        }
    }

    /// Starts a listener with the result of `launch`. If this fails and a listener was ready
    /// before, schedules the next attempt.
    ///
    /// # Errors
    ///
    /// Returns an error if the first listener cannot be started.
    pub(crate) fn start(&mut self, launch: impl FnOnce() -> Result<Launch>) -> Result<()> {
        self.backoff.starting();
        match launch().and_then(|launch| self.spawn(launch)) {
            Err(error) if self.was_ready => {
                let delay = self.backoff.exited(Duration::ZERO, monotonic());
                error!("{error:#}; trying again in {} s", delay.as_secs());
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn spawn(&mut self, launch: Launch) -> Result<()> {
        self.has_replay_store = launch.startup.store.is_some();
        let (end, stdin) = SupervisorEnd::pair()?;
        // The root directory of the listener.
        let stdout = launch.root.map_or_else(Stdio::null, Stdio::from);
        let process = child::spawn(LISTENER_NAME, stdin, stdout, launch.account.as_ref())?;
        let end = Arc::new(end);
        let messages = self.outbox.open();
        self.outbox
            .send_with(Message::Begin(Box::new(launch.startup)), launch.files)?;
        self.running = Some(Running {
            process,
            delivery: tokio::spawn(messages.deliver(Arc::clone(&end))),
            end,
            started: monotonic(),
            phase: Phase::Starting,
            has_answered: true,
            is_killed: false,
        });
        Ok(())
    }

    /// The time of the next start, on the clock of [`monotonic`]; `None` if no start is scheduled.
    pub(crate) fn next_start(&self) -> Option<Duration> {
        self.backoff.next_start()
    }

    /// Whether there is a listener.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether a listener was ever ready.
    pub(crate) fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// Whether the listener can record single-use knocks.
    pub(crate) fn has_replay_store(&self) -> bool {
        self.has_replay_store
    }

    /// The counters of listeners.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Receives the next request that is allowed in the listener's phase. Never returns without a
    /// listener. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Returns an error if the socket fails.
    pub(crate) async fn recv(&self) -> Result<Received> {
        let Some(running) = &self.running else {
            return future::pending().await;
        };
        loop {
            let received = running.end.recv().await?;
            // The socket still contains requests that the listener sent before it was killed.
            if !running.is_killed || matches!(received, Received::Closed) {
                return Ok(in_phase(received, running.phase));
            }
        }
    }

    /// Records that the listener is ready. Returns whether it is the first one.
    pub(crate) fn ready(&mut self) -> bool {
        if let Some(running) = &mut self.running {
            running.phase = Phase::Running;
        }
        !std::mem::replace(&mut self.was_ready, true)
    }

    /// Records that the listener has answered a ping.
    pub(crate) fn alive(&mut self) {
        if let Some(running) = &mut self.running {
            running.has_answered = true;
        }
    }

    /// Pings the listener. Kills it if it has not answered the ping before.
    pub(crate) fn ping(&mut self) {
        let answered = self
            .running
            .as_mut()
            .is_none_or(|running| std::mem::replace(&mut running.has_answered, false));
        if answered {
            self.send(Message::Ping);
        } else {
            self.kill(&"it does not answer");
        }
    }

    /// The queue for tasks whose messages the listener may miss.
    pub(crate) fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Sends `message`. Kills a listener that does not read its messages.
    pub(crate) fn send(&mut self, message: Message) {
        let sent = self.outbox.send(message);
        self.kill_if_stuck(sent);
    }

    /// Sends `message` with the file descriptors `files`. Kills a listener that does not read.
    pub(crate) fn send_with(&mut self, message: Message, files: Vec<OwnedFd>) {
        let sent = self.outbox.send_with(message, files);
        self.kill_if_stuck(sent);
    }

    /// Sends `message`, and releases `permit` when it is sent. Kills a listener that does not read.
    pub(crate) fn send_holding(&mut self, message: Message, permit: OwnedSemaphorePermit) {
        let sent = self.outbox.send_holding(message, permit);
        self.kill_if_stuck(sent);
    }

    fn kill_if_stuck(&mut self, sent: Result<(), Stuck>) {
        if let Err(stuck) = sent {
            self.kill(&stuck);
        }
    }

    /// Kills a misbehaving listener. Its exit is received as [`Received::Closed`].
    pub(crate) fn kill(&mut self, reason: &dyn fmt::Display) {
        let Some(running) = self.running.as_mut().filter(|running| !running.is_killed) else {
            return;
        };
        running.is_killed = true;
        error!("killing the listener: {reason}");
        // Fails if this process may not send signals. Then the listener exits because its channel
        // is shut down.
        let _ = running.process.start_kill();
        running.end.shutdown();
    }

    /// Reaps a listener that exited and schedules the next start.
    ///
    /// # Errors
    ///
    /// Returns an error if no listener was ever ready. The log has the reason.
    pub(crate) async fn reap(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        running.delivery.abort();
        let status = child::exit_status(&mut running.process).await;
        if !self.was_ready {
            bail!("the listener did not start: {status}");
        }
        let now = monotonic();
        let lifetime = now.saturating_sub(running.started);
        let delay = self.backoff.exited(lifetime, now);
        error!(
            "the listener exited ({status}); restarting in {} s; open doors are unaffected",
            delay.as_secs()
        );
        self.counters.listener_restarts += 1;
        Ok(())
    }

    /// Enters the phase in which no request is allowed: the supervisor shuts down.
    pub(crate) fn stopping(&mut self) {
        if let Some(running) = &mut self.running {
            running.phase = Phase::Stopping;
        }
    }

    /// Stops the listener and waits for its exit.
    pub(crate) async fn stop(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        // Both hold the supervisor's end of the channel. The listener exits when it is closed.
        running.delivery.abort();
        let _ = (&mut running.delivery).await;
        drop(running.end);
        child::wait_or_kill(LISTENER_NAME, &mut running.process).await;
    }
}

/// A request that is not allowed in `phase` is invalid.
fn in_phase(received: Received, phase: Phase) -> Received {
    match received {
        Received::Request(request) if !phase.allows(Request::kind(&request)) => {
            let kind = request.kind();
            Received::Invalid(InvalidRequest::Phase { kind, phase })
        }
        received => received,
    }
}

#[cfg(test)]
mod tests;
