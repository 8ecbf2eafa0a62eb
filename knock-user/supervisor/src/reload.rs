//! Reloads of the configuration: reading it, and checking that it requires no restart.
//!
//! A configuration is read in another thread, because a key is derived for each client. One is read
//! at a time: the configuration that is asked for last is read last, and so is the one in force. All
//! requests that arrive meanwhile share the next one.

use anyhow::{Result, bail};
use knockd_config::Config;
use knockd_types::counters::Counters;
use tokio::{
    sync::mpsc,
    task::{JoinError, spawn_blocking},
};

use crate::origin::Origin;

/// The maximum number of queries that wait for the next configuration.
const MAX_WAITING: usize = 16;

/// The reloads in progress.
#[derive(Debug)]
pub(crate) struct Reload {
    /// `None` if there is no configuration file.
    origin: Option<Origin>,
    finished: (
        mpsc::UnboundedSender<Result<Config>>,
        mpsc::UnboundedReceiver<Result<Config>>,
    ),
    /// Those that wait for the configuration that is being read; `None` if none is.
    reading: Option<Waiting>,
    /// Those that have come since. Their configuration is read next.
    next: Option<Waiting>,
    counters: Counters,
}

/// The queries that wait for a configuration; none after SIGHUP.
type Waiting = Vec<u32>;

/// A configuration that was read.
#[derive(Debug)]
pub(crate) struct Reread {
    pub(crate) config: Result<Config>,
    /// The queries that wait for the outcome.
    pub(crate) queries: Vec<u32>,
}

/// The outcome of the request for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// The configuration is being read, or is read next.
    Reading,
    /// Too many queries are waiting.
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
            reading: None,
            next: None,
            counters: Counters::default(),
        }
    }

    /// Sets the origin of the configuration.
    pub(crate) fn set_origin(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }

    /// Starts to read the configuration, for [`Reload::next`].
    pub(crate) fn begin(&mut self, query: Option<u32>) -> Begun {
        if self.origin.is_none() {
            return Begun::NoOrigin;
        }
        let waiting = self.next.get_or_insert_default();
        if let Some(query) = query {
            if waiting.len() == MAX_WAITING {
                return Begun::Busy;
            }
            waiting.push(query);
        }
        self.read_next();
        Begun::Reading
    }

    /// Whether a configuration is being read.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// The next configuration that was read. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Reread> {
        let config = self.finished.1.recv().await?;
        let queries = self.reading.take().unwrap_or_default();
        self.read_next();
        Some(Reread { config, queries })
    }

    /// Starts to read a configuration if one is asked for and none is being read.
    fn read_next(&mut self) {
        if self.reading.is_some() {
            return;
        }
        let (Some(origin), Some(waiting)) = (self.origin.clone(), self.next.take()) else {
            return;
        };
        self.reading = Some(waiting);
        let finished = self.finished.0.clone();
        tokio::spawn(async move {
            let read = spawn_blocking(move || origin.read()).await;
            let config = read.unwrap_or_else(|error: JoinError| Err(error.into()));
            // The receiver is dropped only when the daemon stops.
            let _ = finished.send(config);
        });
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

/// Whether a reload leaves the fleet as it is, but for what the listener can change.
fn is_same_fleet(current: &Config, next: &Config) -> bool {
    match (&current.fleet, &next.fleet) {
        (None, None) => true,
        (Some(current), Some(next)) => {
            current.node == next.node
                && current.key.expose() == next.key.expose()
                && current.patience == next.patience
                && current.engine == next.engine
        }
        _ => false,
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
        ("fleet", !is_same_fleet(current, next)),
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
