//! The metrics exporter process, which runs beside the listener if `[metrics]` is configured.
//!
//! It is optional: if it exits or cannot be started, it is started again later, and nothing else is
//! affected. It gets its data from the listener, over a channel that is created for each exporter.

use std::{
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Result;
use knockd_config::{Config, metrics::Settings};
use knockd_ipc::metrics::{EXPORTER_NAME, frame};
use knockd_runtime::{
    account::unprivileged,
    clock::{monotonic, sleep_until_monotonic},
    log,
};
use knockd_types::account::Account;
use rustix::process::geteuid;
use tokio::process::Child as Process;
use tracing::{error, info};

use crate::{backoff::RestartBackoff, child, sockets};

/// The exporter's HTTP socket and the process that serves it.
#[derive(Debug, Default)]
pub(crate) struct ExporterProcess {
    /// `None` without `[metrics]`.
    settings: Option<Settings>,
    /// `None` as long as the address cannot be bound.
    socket: Option<OwnedFd>,
    running: Option<Running>,
    backoff: RestartBackoff,
    /// Whether an exporter has exited or could not be started, so that the next start is logged.
    has_failed: bool,
}

/// An exporter that was started.
#[derive(Debug)]
struct Running {
    process: Process,
    /// The time of its start, on the clock of [`monotonic`].
    started: Duration,
}

/// An event of the exporter.
#[derive(Debug)]
pub(crate) enum ExporterEvent {
    Exited(io::Result<ExitStatus>),
    /// The delay before the next start is over.
    Due,
}

impl ExporterProcess {
    /// An exporter with these settings; without them there is never a process.
    pub(crate) fn new(settings: Option<Settings>) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Waits for the next event. Cancel-safe.
    pub(crate) async fn next_event(&mut self) -> ExporterEvent {
        match &mut self.running {
            Some(running) => ExporterEvent::Exited(running.process.wait().await),
            None => {
                sleep_until_monotonic(self.backoff.next_start()).await;
                ExporterEvent::Due
            }
        }
    }

    /// Starts an exporter in place of the previous one. Returns the listener's end of the channel,
    /// or `None` if there is no exporter.
    pub(crate) fn start(&mut self, config: &Config) -> Option<OwnedFd> {
        let settings = self.settings?;
        self.backoff.starting();
        // Its channel is closed with the previous listener, so it is about to exit. If it does not,
        // it is killed, if this process may send signals.
        self.running = None;
        match self.bind(settings).and_then(|socket| spawn(socket, config)) {
            Ok((process, channel)) => {
                if std::mem::take(&mut self.has_failed) {
                    info!("the metrics exporter is started again");
                }
                let started = monotonic();
                self.running = Some(Running { process, started });
                Some(channel)
            }
            Err(error) => {
                self.has_failed = true;
                let delay = self.backoff.exited(Duration::ZERO, monotonic());
                error!(
                    "{error:#}; trying again in {} s; everything else is unaffected",
                    delay.as_secs()
                );
                None
            }
        }
    }

    /// The listening socket. The address may appear only after the start, as that of a VPN does.
    fn bind(&mut self, settings: Settings) -> Result<&OwnedFd> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => sockets::bind(settings)?,
        };
        Ok(self.socket.insert(socket))
    }

    /// Reaps an exporter that has exited, and schedules the next start.
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
            "the metrics exporter exited ({status}); restarting in {} s; everything else is unaffected",
            delay.as_secs()
        );
    }

    /// Waits for the next listener, which gets a new exporter.
    pub(crate) fn wait_for_listener(&mut self) {
        self.running = None;
        self.backoff.starting();
    }

    /// Waits until the exporter exits, which it does when the listener has exited.
    pub(crate) async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            child::wait_or_kill(EXPORTER_NAME, &mut running.process).await;
        }
    }
}

/// Starts an exporter that serves `socket`. Returns it with the listener's end of its channel.
fn spawn(socket: &OwnedFd, config: &Config) -> Result<(Process, OwnedFd)> {
    let account = account(config)?;
    let (exporter, mut listener) = UnixStream::pair()?;
    // The exporter reads this before its first request. It fits into the socket's buffer, so this
    // does not block.
    listener.write_all(&frame(&log::chosen())?)?;
    let stdout = Stdio::from(socket.try_clone()?);
    let process = child::spawn(EXPORTER_NAME, exporter.into(), stdout, account.as_ref())?;
    Ok((process, listener.into()))
}

/// The account of the listener; `None` if this process may not change its user. The start of
/// the listener has already logged any warning.
fn account(config: &Config) -> Result<Option<Account>> {
    let is_root = geteuid().is_root();
    is_root
        .then(|| unprivileged(config.user.as_ref()))
        .transpose()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[tokio::test]
    async fn without_settings_nothing_ever_happens() {
        let mut exporter = ExporterProcess::new(None);
        let event = tokio::time::timeout(Duration::from_millis(10), exporter.next_event());
        assert!(event.await.is_err());
    }

    #[tokio::test]
    async fn an_exit_schedules_the_next_start_and_a_missing_listener_cancels_it() {
        let process = tokio::process::Command::new("true").spawn().unwrap();
        let mut exporter = ExporterProcess::new(None);
        exporter.running = Some(Running {
            process,
            started: monotonic(),
        });
        let event = exporter.next_event().await;
        let ExporterEvent::Exited(status) = event else {
            panic!("{event:?}");
        };
        assert_eq!(status.as_ref().unwrap(), &ExitStatus::from_raw(0));
        exporter.reap(status);
        assert!(exporter.backoff.next_start().is_some());
        exporter.wait_for_listener();
        assert!(exporter.backoff.next_start().is_none());
    }
}
