//! What the supervisor opens before it runs: the program or the lines, sockets, the lease store.

use std::{os::fd::OwnedFd, path::PathBuf};

use anyhow::{Result, bail};
use knock_common::{
    gate::Mode,
    settings::{Settings, Verdict},
};
use knockd_config::{Config, DEFAULT_PIN_DIR, Door};
use knockd_types::event::Event;
use knockd_xdp::{interfaces::Watch, leases::Gate, pins::PinDir, program::Xdp};

use crate::{
    lease_store::LeaseStore,
    reporter::Reporter,
    sockets::{self, Socket},
};

/// Where the listener's knocks come from.
pub(crate) enum Source {
    /// Interfaces.
    Xdp(Box<Xdp>),
    /// Lines, open, and what they are called.
    Lines(OwnedFd, PathBuf),
    /// Lines that have come to their end. Open doors are still closed in time.
    Ended,
}

impl Source {
    /// Waits until the kernel has logged something.
    pub(crate) async fn logged(&mut self) -> Result<()> {
        match self {
            Self::Xdp(xdp) => Ok(xdp.logged().await?),
            Self::Lines(..) | Self::Ended => std::future::pending().await,
        }
    }
}

/// What was opened for the listener.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// The control socket.
    pub control: Socket,
}

/// Makes of `config` one that drops nothing.
pub(crate) fn force_observe(config: &mut Config) {
    config.verdict = Verdict::Pass;
    if let Some(gate) = &mut config.gate {
        gate.rules.mode = Mode::Observe;
    }
}

/// A watch over the interfaces, from before they are looked at, so that no change is missed.
pub(crate) fn watch(source: &Source) -> Result<Option<Watch>> {
    match source {
        Source::Xdp(_) => Watch::new().map(Some),
        Source::Lines(..) | Source::Ended => Ok(None),
    }
}

/// What a daemon before this one has left in force.
pub(crate) struct Before {
    pub(crate) pins: PinDir,
    /// Whether anything can be pinned there.
    pub(crate) can_pin: Result<()>,
    pub(crate) gate: Option<Gate>,
}

impl Before {
    pub(crate) fn find(config: &Config) -> Self {
        let root = pin_dir(config);
        let can_pin = match &config.gate {
            Some(_) => PinDir::prepare(&root),
            None => Ok(()),
        };
        let pins = PinDir::at(&root);
        let udp_idle = config.gate.as_ref().map(|gate| gate.rules.udp_idle);
        let gate = pins.gate(udp_idle.unwrap_or_default());
        Self {
            pins,
            can_pin,
            gate,
        }
    }
}

pub(crate) fn pin_dir(config: &Config) -> PathBuf {
    let gate = config.gate.as_ref();
    gate.map_or_else(|| DEFAULT_PIN_DIR.into(), |gate| gate.pin_dir.clone())
}

/// The HTTP server's socket, if there is to be one.
pub(crate) fn open_metrics(config: &Config) -> Result<Option<OwnedFd>> {
    config.metrics.map(sockets::bind).transpose()
}

/// Where the knocks come from, attached to nothing yet, and the gate.
pub(crate) fn open_source(
    config: &Config,
    lines: Option<PathBuf>,
    reporter: &Reporter,
) -> Result<(Source, Option<Gate>)> {
    if let Some(path) = lines {
        if config.gate.is_some() {
            bail!(
                "[gate] is enforced on interfaces, and --lines has none: use --iface, or a configuration without [gate]"
            );
        }
        return Ok((Source::Lines(sockets::open(&path)?, path), None));
    }
    let (xdp, gate) = load(config, reporter)?;
    Ok((Source::Xdp(Box::new(xdp)), gate))
}

/// The program with the settings of `config`, attached to nothing, and its gate without leases.
pub(crate) fn load(config: &Config, reporter: &Reporter) -> Result<(Xdp, Option<Gate>)> {
    let settings = Settings::new(config.window, config.verdict, config.limits.events);
    let Some(gate) = &config.gate else {
        return Ok((Xdp::load(settings, Box::new(reporter.clone()))?, None));
    };
    let (xdp, gate) = Xdp::load_with_gate(settings, &gate.rules, Box::new(reporter.clone()))?;
    Ok((xdp, Some(gate)))
}

/// The store of leases, if there are doors that have to be closed. One that does not work is
/// told, and keeps nobody out.
pub(crate) fn open_store(config: &Config, reporter: &Reporter) -> Result<Option<LeaseStore>> {
    if !config.doors.iter().any(Door::has_to_be_closed) {
        return Ok(None);
    }
    let (store, trouble) = LeaseStore::open(&config.state_dir)?;
    if let Some(trouble) = trouble {
        reporter.report(Event::Trouble {
            message: format!("{trouble:#}"),
        });
    }
    Ok(Some(store))
}
