//! The signals that end the daemon, and the one that has it read its configuration again.

use std::io::{self, IsTerminal as _};

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To end, by the signal of this name.
    Stop(&'static str),
    /// To read the configuration again.
    Reload,
}

/// The signals that end the daemon in good order, and SIGHUP.
#[derive(Debug)]
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Hangup,
}

/// What SIGHUP means.
#[derive(Debug)]
enum Hangup {
    /// The terminal is gone, and must not leave doors open.
    Stops(Signal),
    /// There is another configuration to read.
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

    /// The next signal that asks for something.
    pub(crate) async fn recv(&mut self) -> Asked {
        let (hangup, asked) = match &mut self.hangup {
            Hangup::Stops(signal) => (signal, Asked::Stop("SIGHUP")),
            Hangup::Reloads(signal) => (signal, Asked::Reload),
        };
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = hangup.recv() => asked,
        }
    }

    /// The next signal that ends the daemon, by its name.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            if let Asked::Stop(signal) = self.recv().await {
                return signal;
            }
        }
    }
}
