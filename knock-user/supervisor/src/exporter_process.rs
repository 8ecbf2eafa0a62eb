//! The metrics exporter process, which runs beside the listener if `[metrics]` is configured. It gets
//! its data from the listener, over a channel that is created for each exporter.

use std::{
    io::Write as _,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Stdio,
};

use anyhow::Result;
use knockd_config::{Config, metrics::Settings};
use knockd_ipc::metrics::{EXPORTER_NAME, frame};
use knockd_runtime::log;
use tokio::process::Child as Process;

use crate::{child, helper_process::HelperProcess, sockets};

/// The exporter's HTTP socket and the process that serves it.
#[derive(Debug)]
pub(crate) struct ExporterProcess {
    /// `None` without `[metrics]`.
    settings: Option<Settings>,
    /// `None` as long as the address cannot be bound.
    socket: Option<OwnedFd>,
    pub(crate) process: HelperProcess,
}

impl ExporterProcess {
    /// An exporter with these settings; without them there is never a process.
    pub(crate) fn new(settings: Option<Settings>) -> Self {
        Self {
            settings,
            socket: None,
            process: HelperProcess::new("the metrics exporter", "everything else is unaffected"),
        }
    }

    /// Starts an exporter in place of the previous one. Returns the listener's end of the channel,
    /// or `None` if there is no exporter.
    pub(crate) fn start(&mut self, config: &Config) -> Option<OwnedFd> {
        let settings = self.settings?;
        let socket = &mut self.socket;
        self.process
            .start(|| bind(socket, settings).and_then(|socket| spawn(socket, config)))
    }
}

/// The listening socket. The address may appear only after the start, as that of a VPN does.
fn bind(bound: &mut Option<OwnedFd>, settings: Settings) -> Result<&OwnedFd> {
    let socket = match bound.take() {
        Some(socket) => socket,
        None => sockets::bind(settings)?,
    };
    Ok(bound.insert(socket))
}

/// Starts an exporter that serves `socket`. Returns it with the listener's end of its channel.
fn spawn(socket: &OwnedFd, config: &Config) -> Result<(Process, OwnedFd)> {
    let account = child::account(config)?;
    let (exporter, mut listener) = UnixStream::pair()?;
    // The exporter reads this before its first request. It fits into the socket's buffer, so this
    // does not block.
    listener.write_all(&frame(&log::chosen())?)?;
    let stdout = Stdio::from(socket.try_clone()?);
    let process = child::spawn(EXPORTER_NAME, exporter.into(), stdout, account.as_ref())?;
    Ok((process, listener.into()))
}
