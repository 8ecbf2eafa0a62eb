//! An optional process beside the listener: the metrics exporter, or the fleet process.
//!
//! If it exits or cannot be started, it is started again later, and nothing else is affected. It
//! has a channel to one listener, so a new listener gets a new process.

use std::{io, process::ExitStatus, time::Duration};

use anyhow::Result;
use knockd_runtime::clock::{monotonic, sleep_until_monotonic};
use tokio::process::Child as Process;
use tracing::{error, info};

use crate::{backoff::RestartBackoff, child};

/// The process, and when it is started next.
#[derive(Debug)]
pub(crate) struct HelperProcess {
    /// What it is called in the log.
    name: &'static str,
    /// What does not work without it, for the log.
    effect: &'static str,
    running: Option<Running>,
    backoff: RestartBackoff,
    /// Whether one has exited or could not be started, so that the next start is logged.
    has_failed: bool,
}

/// A process that was started.
#[derive(Debug)]
struct Running {
    process: Process,
    /// The time of its start, on the clock of [`monotonic`].
    started: Duration,
}

/// An event of the process.
#[derive(Debug)]
pub(crate) enum HelperEvent {
    Exited(io::Result<ExitStatus>),
    /// The delay before the next start is over.
    Due,
}

impl HelperProcess {
    /// A process that was not started. If it fails, the log says `effect`.
    pub(crate) fn new(name: &'static str, effect: &'static str) -> Self {
        Self {
            name,
            effect,
            running: None,
            backoff: RestartBackoff::default(),
            has_failed: false,
        }
    }

    /// Waits for the next event. Cancel-safe.
    pub(crate) async fn next_event(&mut self) -> HelperEvent {
        match &mut self.running {
            Some(running) => HelperEvent::Exited(running.process.wait().await),
            None => {
                sleep_until_monotonic(self.backoff.next_start()).await;
                HelperEvent::Due
            }
        }
    }

    /// Starts a process with `spawn` in place of the previous one. Returns the listener's end of the
    /// channel, or `None` after an error, which is logged.
    pub(crate) fn start<C>(&mut self, spawn: impl FnOnce() -> Result<(Process, C)>) -> Option<C> {
        self.backoff.starting();
        // Its channel is closed with the previous listener, so it is about to exit. If it does not,
        // it is killed, if this process may send signals.
        self.running = None;
        match spawn() {
            Ok((process, channel)) => {
                if std::mem::take(&mut self.has_failed) {
                    info!("{} is started again", self.name);
                }
                let started = monotonic();
                self.running = Some(Running { process, started });
                Some(channel)
            }
            Err(error) => {
                self.has_failed = true;
                let delay = self.backoff.exited(Duration::ZERO, monotonic());
                error!(
                    "{error:#}; trying again in {} s; {}",
                    delay.as_secs(),
                    self.effect
                );
                None
            }
        }
    }

    /// Reaps a process that has exited, and schedules the next start.
    pub(crate) fn reap(&mut self, status: io::Result<ExitStatus>) {
        let Some(running) = self.running.take() else {
            return;
        };
        self.has_failed = true;
        let now = monotonic();
        let lifetime = now.saturating_sub(running.started);
        let delay = self.backoff.exited(lifetime, now);
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        error!(
            "{} exited ({status}); restarting in {} s; {}",
            self.name,
            delay.as_secs(),
            self.effect
        );
    }

    /// Waits for the next listener, which gets a new process.
    pub(crate) fn wait_for_listener(&mut self) {
        self.running = None;
        self.backoff.starting();
    }

    /// Waits until the process exits, which it does when the listener has exited.
    pub(crate) async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            child::wait_or_kill(self.name, &mut running.process).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[tokio::test]
    async fn without_a_start_nothing_ever_happens() {
        let mut helper = HelperProcess::new("helper", "nothing");
        let event = tokio::time::timeout(Duration::from_millis(10), helper.next_event());
        assert!(event.await.is_err());
    }

    #[tokio::test]
    async fn an_exit_schedules_the_next_start_and_a_missing_listener_cancels_it() {
        let mut helper = HelperProcess::new("helper", "nothing");
        let started = helper.start(|| Ok((tokio::process::Command::new("true").spawn()?, ())));
        assert!(started.is_some());
        let event = helper.next_event().await;
        let HelperEvent::Exited(status) = event else {
            panic!("{event:?}");
        };
        assert_eq!(status.as_ref().unwrap(), &ExitStatus::from_raw(0));
        helper.reap(status);
        assert!(helper.backoff.next_start().is_some());
        helper.wait_for_listener();
        assert!(helper.backoff.next_start().is_none());
    }

    #[tokio::test]
    async fn a_start_that_fails_is_tried_again() {
        let mut helper = HelperProcess::new("helper", "nothing");
        let started = helper.start(|| -> Result<(Process, ())> { anyhow::bail!("no memory") });
        assert!(started.is_none());
        assert!(helper.backoff.next_start().is_some());
    }
}
