//! The resources that the supervisor opens at its start: the program or the lines, sockets, and the
//! lease journal.

use std::path::PathBuf;

use anyhow::{Result, bail};
use knock_common::{
    gate::Mode,
    protocol::datagram::mac1_key,
    settings::{DEFAULT_DATAGRAM_RATE, Datagram, Settings, Verdict},
};
use knockd_config::{Config, DEFAULT_PIN_DIR, Door};
use knockd_xdp::{
    interfaces::Watch,
    leases::Gate,
    pins::{Owner, PinDir},
    program::Xdp,
};
use tracing::info;

use crate::{
    lease_store::LeaseStore,
    reporter::Reporter,
    sockets::{self, Socket},
    source::Source,
};

/// The sockets that are opened for the listener.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// The control socket.
    pub control: Socket,
}

/// Changes `config` so that nothing is dropped.
pub(crate) fn force_observe(config: &mut Config) {
    config.verdict = Verdict::Pass;
    if let Some(gate) = &mut config.gate {
        gate.rules.mode = Mode::Observe;
    }
}

/// Watches for changes of interfaces. The watch has to exist before they are listed, so that none
/// is missed.
pub(crate) fn watch(source: &Source) -> Result<Option<Watch>> {
    match source {
        Source::Xdp(_) => Watch::new().map(Some),
        Source::Lines(..) | Source::Ended => Ok(None),
    }
}

/// The pins and the gate that a previous daemon left in force.
pub(crate) struct Previous {
    /// Claimed. `None` if they are another knockd's and there is no gate to be pinned.
    pub(crate) pins: Option<PinDir>,
    /// The reason that nothing can be pinned there, if so.
    pub(crate) can_pin: Result<()>,
    pub(crate) gate: Option<Gate>,
}

impl Previous {
    /// Nothing is in force that this daemon may use.
    pub(crate) fn none() -> Self {
        Self {
            pins: None,
            can_pin: Ok(()),
            gate: None,
        }
    }

    /// Claims the pins in the configured directory for `owner`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is a gate to be pinned, and the pins are those of another knockd.
    pub(crate) fn find(config: &Config, owner: &Owner, take_over: bool) -> Result<Self> {
        let root = pin_dir(config);
        let mut can_pin = match &config.gate {
            Some(_) => PinDir::prepare(&root),
            None => Ok(()),
        };
        let pins = match PinDir::claim(&root, owner, take_over) {
            Ok(pins) => Some(pins),
            Err(error) if config.gate.is_some() => return Err(error.into()),
            Err(error) => {
                info!("{error}");
                None
            }
        };
        if let (Some(_), Some(pins)) = (&config.gate, &pins) {
            can_pin = can_pin.and_then(|()| pins.record(owner));
        }
        let udp_idle = config.gate.as_ref().map(|gate| gate.rules.udp_idle);
        let gate = pins
            .as_ref()
            .and_then(|pins| pins.gate(udp_idle.unwrap_or_default()));
        Ok(Self {
            pins,
            can_pin,
            gate,
        })
    }
}

/// The configured directory of the pins, or the default one.
pub(crate) fn pin_dir(config: &Config) -> PathBuf {
    let gate = config.gate.as_ref();
    gate.map_or_else(|| DEFAULT_PIN_DIR.into(), |gate| gate.pin_dir.clone())
}

/// The source of SYNs, attached to nothing yet, and the gate.
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

/// Loads the program with the settings of `config`. It is attached to nothing, and its gate has no
/// leases.
pub(crate) fn load(config: &Config, reporter: &Reporter) -> Result<(Xdp, Option<Gate>)> {
    let mut settings = Settings::new(config.window, config.verdict, config.limits.events);
    if let (Some(port), Some(server)) = (config.datagram_port, &config.server) {
        settings = settings.with_datagram(&Datagram {
            port,
            mac1: mac1_key(&server.public()),
            rate: DEFAULT_DATAGRAM_RATE,
        });
    }
    let Some(gate) = &config.gate else {
        return Ok((Xdp::load(settings, Box::new(reporter.clone()))?, None));
    };
    let (xdp, gate) = Xdp::load_with_gate(settings, &gate.rules, Box::new(reporter.clone()))?;
    Ok((xdp, Some(gate)))
}

/// Opens the lease journal, if there are doors that have to be closed. A failure is reported, and
/// refuses no client.
pub(crate) fn open_store(config: &Config, reporter: &Reporter) -> Result<Option<LeaseStore>> {
    if !config.doors.iter().any(Door::has_to_be_closed) {
        return Ok(None);
    }
    let (store, problem) = LeaseStore::open(&config.state_dir)?;
    if let Some(problem) = problem {
        reporter.problem(format!("{problem:#}"));
    }
    Ok(Some(store))
}
