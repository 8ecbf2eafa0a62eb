//! The metrics exporter process, which runs beside the listener if `[metrics]` is configured.
//!
//! It is optional: if it exits or cannot be started, it is started again later, and nothing else is
//! affected. It gets its data from the listener, over a channel that is made anew for each exporter.

use std::{
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Result;
use knockd_config::Config;
use knockd_ipc::metrics::{EXPORTER_NAME, frame};
use knockd_runtime::{
    account::unprivileged,
    clock::{monotonic, sleep_until_monotonic},
    log,
};
use knockd_types::account::Account;
use rustix::process::geteuid;
use tokio::process::Child;
use tracing::{error, info};

use crate::{backoff::RestartBackoff, child};

/// The exporter's HTTP socket and the process that serves it.
#[derive(Debug, Default)]
pub(crate) struct ExporterProcess {
    /// `None` without `[metrics]`.
    socket: Option<OwnedFd>,
    running: Option<Running>,
    backoff: RestartBackoff,
    /// Whether an exporter has exited or could not be started, so that the next start is logged.
    has_failed: bool,
}

/// An exporter that was started.
#[derive(Debug)]
struct Running {
    process: Child,
    /// When, on the clock of [`monotonic`].
    started: Duration,
}

/// What happened to the exporter.
#[derive(Debug)]
pub(crate) enum ExporterEvent {
    Exited(io::Result<ExitStatus>),
    /// The delay before the next start is over.
    Due,
}

impl ExporterProcess {
    /// An exporter for the listening socket `socket`; without one there is never a process.
    pub(crate) fn new(socket: Option<OwnedFd>) -> Self {
        Self {
            socket,
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
        let socket = self.socket.as_ref()?;
        self.backoff.starting();
        // Its channel is closed with the previous listener, so it is about to exit. If it does not,
        // it is killed, where this process has the capability.
        self.running = None;
        match account(config).and_then(|account| spawn(socket, account.as_ref())) {
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
                let delay = self.backoff.exited(Duration::ZERO, monotonic()).as_secs();
                error!("{error:#}; trying again in {delay} s; everything else is unaffected");
                None
            }
        }
    }

    /// Reaps an exporter that has exited, and plans the next start.
    pub(crate) fn reap(&mut self, status: &io::Result<ExitStatus>) {
        let Some(running) = self.running.take() else {
            return;
        };
        self.has_failed = true;
        let now = monotonic();
        let lifetime = now.saturating_sub(running.started);
        let delay = self.backoff.exited(lifetime, now).as_secs();
        let status = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        error!(
            "the metrics exporter exited ({status}); restarting in {delay} s; everything else is unaffected"
        );
    }

    /// Reaps an exporter that has exited with the listener. The next listener gets a new one.
    pub(crate) fn reap_with_listener(&mut self) {
        self.running = None;
        self.backoff.starting();
    }

    /// Waits until the exporter has exited, which it does when the listener has. Kills it if it
    /// takes too long.
    pub(crate) async fn stop(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        child::wait_or_kill(EXPORTER_NAME, &mut running.process).await;
    }
}

/// The account of the listener; `None` if this process cannot choose one. The start of the listener
/// has logged what there is to say about it.
fn account(config: &Config) -> Result<Option<Account>> {
    let is_root = geteuid().is_root();
    is_root
        .then(|| unprivileged(config.user.as_ref()))
        .transpose()
}

/// Starts an exporter that serves `socket`. Returns it with the listener's end of its channel.
fn spawn(socket: &OwnedFd, account: Option<&Account>) -> Result<(Child, OwnedFd)> {
    let (exporter, mut listener) = UnixStream::pair()?;
    // It fits into the socket's buffer.
    listener.write_all(&frame(&log::chosen())?)?;
    let stdout = Stdio::from(socket.try_clone()?);
    let process = child::spawn(EXPORTER_NAME, exporter.into(), stdout, account)?;
    Ok((process, listener.into()))
}
