//! Reloads of the configuration: reading it, and checking that it requires no restart.
//!
//! A configuration is read in another thread, because a key is derived for each client.
//! Several reloads may be read at the same time, up to a limit.

use anyhow::{Result, bail};
use knockd_config::Config;
use knockd_types::counters::Counters;
use tokio::{
    sync::mpsc,
    task::{JoinError, spawn_blocking},
};

use crate::origin::Origin;

/// The maximum number of configurations that are read at the same time.
const MAX_READING: usize = 4;

/// The reloads in progress.
#[derive(Debug)]
pub(crate) struct Reload {
    /// `None` if there is no configuration file.
    origin: Option<Origin>,
    finished: (
        mpsc::UnboundedSender<Reread>,
        mpsc::UnboundedReceiver<Reread>,
    ),
    reading: usize,
    counters: Counters,
}

/// A configuration that was read.
#[derive(Debug)]
pub(crate) struct Reread {
    pub(crate) config: Result<Config>,
    /// The query that waits for the outcome; `None` after SIGHUP.
    pub(crate) query: Option<u32>,
}

/// The outcome of the request for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// The configuration is being read.
    Reading,
    /// Too many reloads are in progress.
    Busy,
    /// There is no configuration file.
    NoOrigin,
}

/// Properties that are fixed at the start of the daemon, independent of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    /// Whether SYNs are read as lines.
    pub(crate) reads_lines: bool,
    /// Whether the listener has a replay store.
    pub(crate) has_replay_store: bool,
}

impl Reload {
    /// No reload in progress.
    pub(crate) fn new() -> Self {
        Self {
            origin: None,
            finished: mpsc::unbounded_channel(),
            reading: 0,
            counters: Counters::default(),
        }
    }

    /// Sets the origin of the configuration.
    pub(crate) fn set_origin(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }

    /// Starts to read the configuration, for [`Reload::next`].
    pub(crate) fn begin(&mut self, query: Option<u32>) -> Begun {
        let Some(origin) = self.origin.clone() else {
            return Begun::NoOrigin;
        };
        if self.reading == MAX_READING {
            return Begun::Busy;
        }
        self.reading += 1;
        let finished = self.finished.0.clone();
        tokio::spawn(async move {
            let read = spawn_blocking(move || origin.read()).await;
            let config = read.unwrap_or_else(|error: JoinError| Err(error.into()));
            // The receiver is dropped only when the daemon stops.
            let _ = finished.send(Reread { config, query });
        });
        Begun::Reading
    }

    /// The next configuration that was read. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Reread> {
        let reread = self.finished.1.recv().await;
        if reread.is_some() {
            self.reading -= 1;
        }
        reread
    }

    /// Counts a reload that was applied or refused.
    pub(crate) fn count(&mut self, is_applied: bool) {
        if is_applied {
            self.counters.reloads += 1;
        } else {
            self.counters.reloads_refused += 1;
        }
    }

    /// The numbers of applied and refused reloads.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }
}

/// Checks that a reload from `current` to `next` changes nothing that requires a restart.
///
/// # Errors
///
/// Returns an error that names the key that requires a restart, or that does not fit the source of
/// SYNs.
pub(crate) fn require_same(current: &Config, next: &Config, fixed: Fixed) -> Result<()> {
    let pin_dir = |config: &Config| config.gate.as_ref().map(|gate| gate.pin_dir.clone());
    let moves_pins = matches!(
        (pin_dir(current), pin_dir(next)),
        (Some(current), Some(next)) if current != next
    );
    for (key, differs) in [
        ("state_dir", current.state_dir != next.state_dir),
        (
            "control_socket",
            current.control_socket != next.control_socket,
        ),
        ("gate.pin_dir", moves_pins),
        ("metrics", current.metrics != next.metrics),
        ("user", current.user != next.user),
        ("window", fixed.reads_lines && current.window != next.window),
    ] {
        if differs {
            bail!("`{key}` can only be changed by a restart of knockd");
        }
    }
    let needs_store = next.has_single_use_knocks() && !current.has_single_use_knocks();
    if needs_store && !fixed.has_replay_store {
        bail!(
            "the first client with a key pair can only be added by a restart of knockd, because its knocks require a replay store"
        );
    }
    if !fixed.reads_lines && next.interfaces.is_empty() {
        bail!("there is no interface to listen on: set `interfaces`");
    }
    if fixed.reads_lines && next.gate.is_some() {
        bail!("[gate] is enforced on interfaces, and this daemon reads lines");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
