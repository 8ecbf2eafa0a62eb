//! The signals that stop the daemon or reload its configuration.

use std::io::{self, IsTerminal as _};

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The request that a signal stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalRequest {
    /// Stop the daemon, with the name of the signal.
    Stop(&'static str),
    /// Reload the configuration.
    Reload,
}

/// The signals that stop the daemon in an orderly way, and SIGHUP.
#[derive(Debug)]
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Hangup,
}

/// The meaning of SIGHUP, which depends on whether standard error is a terminal.
#[derive(Debug)]
enum Hangup {
    /// The terminal was closed. No door may stay open.
    Stops(Signal),
    /// The configuration has changed.
    Reloads(Signal),
}

impl StopSignals {
    /// Installs the handlers, which replace the default action.
    ///
    /// # Errors
    ///
    /// Returns an error if a handler cannot be installed.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if io::stderr().is_terminal() {
                Hangup::Stops(signal(SignalKind::hangup())?)
            } else {
                Hangup::Reloads(signal(SignalKind::hangup())?)
            },
        })
    }

    /// The next signal. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> SignalRequest {
        let (hangup, request) = match &mut self.hangup {
            Hangup::Stops(signal) => (signal, SignalRequest::Stop("SIGHUP")),
            Hangup::Reloads(signal) => (signal, SignalRequest::Reload),
        };
        tokio::select! {
            _ = self.terminate.recv() => SignalRequest::Stop("SIGTERM"),
            _ = self.interrupt.recv() => SignalRequest::Stop("SIGINT"),
            _ = hangup.recv() => request,
        }
    }

    /// The name of the next signal that stops the daemon. Cancel-safe.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            if let SignalRequest::Stop(signal) = self.recv().await {
                return signal;
            }
        }
    }
}
