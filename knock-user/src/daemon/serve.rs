//! From a configuration to a daemon that runs.

use std::{os::fd::OwnedFd, path::PathBuf};

use anyhow::{Result, bail};
use knock_common::{
    gate::Mode,
    settings::{Settings, Verdict},
};
use tracing::info;

use super::{
    config::{Config, DEFAULT_PIN_DIR, Door},
    control::server::Socket,
    gate::{Gate, pins::Pins},
    inner::outbox::Outbox,
    keeper::{Keeper, Origin, Sockets, Source, StopSignals},
    metrics::exporter,
    report::{Event, Reporter},
    source::{interfaces::Watch, lines, xdp::Xdp},
    store::leases::Leases,
};

/// Runs a daemon until a signal ends it or its lines have ended.
///
/// # Errors
///
/// A sentence that says what is missing or taken. Doors that a daemon before this one left open
/// are closed first.
pub async fn serve(config: Config, origin: Origin, lines: Option<PathBuf>) -> Result<()> {
    // Before anything is there that a signal could leave behind.
    let mut stop = StopSignals::new()?;
    let control = Socket::bind(&config.control_socket)?;
    let outbox = Outbox::default();
    let reporter = Reporter::with_listener(outbox.clone());
    let store = open_store(&config, &reporter)?;
    let before = Before::find(&config);
    let metrics = open_metrics(&config);
    let opened = open_source(&config, lines, &reporter);
    let opened = metrics.and_then(|metrics| {
        let (source, gate) = opened?;
        let watch = watch(&source)?;
        Ok((metrics, source, gate, watch))
    });
    let mut keeper = Keeper::new(config, store, reporter, outbox)?;
    let (metrics, source, gate, watch) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // What a daemon before this one left open must not wait for the mistake to be found.
            keeper.restore_leases(before.gate.as_ref());
            keeper.listen(Source::Ended, before.gate);
            keeper.close_what_is_left(&mut stop).await;
            return Err(error);
        }
    };
    keeper.listen(source, gate);
    keeper.restore_leases(before.gate.as_ref());
    if let Err(error) = keeper.attach(before.pins, before.can_pin) {
        keeper.listen(Source::Ended, before.gate);
        keeper.close_what_is_left(&mut stop).await;
        return Err(error);
    }
    watch.into_iter().for_each(|watch| keeper.follow(watch));
    keeper.reload_from(origin);
    keeper.run(stop, Sockets { control, metrics }).await
}

/// Runs a daemon that tells what it would do and does none of it, until a signal ends it.
///
/// # Errors
///
/// A sentence that says what is missing or taken.
pub async fn rehearse(mut config: Config, origin: Origin, lines: Option<PathBuf>) -> Result<()> {
    let stop = StopSignals::new()?;
    let control = Socket::bind(&config.control_socket)?;
    let outbox = Outbox::default();
    let reporter = Reporter::with_listener(outbox.clone());
    only_look(&mut config);
    let metrics = open_metrics(&config)?;
    let (source, gate) = open_source(&config, lines, &reporter)?;
    // No lease is kept. But the listener remembers knocks: else whoever saw one that was only
    // rehearsed could use it later.
    let mut keeper = Keeper::new(config, None, reporter, outbox)?;
    keeper.rehearse();
    let watch = watch(&source)?;
    keeper.listen(source, gate);
    keeper.attach_for_now()?;
    watch.into_iter().for_each(|watch| keeper.follow(watch));
    keeper.reload_from(origin);
    info!("dry run: nothing is dropped, no command is run, and nothing stays");
    keeper.run(stop, Sockets { control, metrics }).await
}

/// Makes of `config` one that drops nothing.
pub(super) fn only_look(config: &mut Config) {
    config.verdict = Verdict::Pass;
    if let Some(gate) = &mut config.gate {
        gate.rules.mode = Mode::Observe;
    }
}

/// Takes the gate that a daemon has left in force away for good, closes every door that is
/// left open, and says what is protected no longer.
///
/// # Errors
///
/// A daemon is running, or its store does not open.
pub async fn detach(config: Config) -> Result<()> {
    let mut stop = StopSignals::new()?;
    // Held, so that no daemon starts meanwhile.
    let _socket = Socket::bind(&config.control_socket)?;
    let outbox = Outbox::default();
    let reporter = Reporter::default();
    let store = open_store(&config, &reporter)?;
    let pins = Pins::at(&pin_dir(&config));
    let udp_idle = config.gate.as_ref().map(|gate| gate.rules.udp_idle);
    let gate = pins.gate(udp_idle.unwrap_or_default());
    let mut keeper = Keeper::new(config, store, reporter, outbox)?;
    keeper.restore_leases(gate.as_ref());
    keeper.listen(Source::Ended, gate);
    keeper.close_everything(&mut stop).await;
    pins.detach();
    Ok(())
}

/// A watch over the interfaces, from before they are looked at, so that no change is missed.
fn watch(source: &Source) -> Result<Option<Watch>> {
    match source {
        Source::Xdp(_) => Watch::new().map(Some),
        Source::Lines(..) | Source::Ended => Ok(None),
    }
}

/// What a daemon before this one has left in force.
struct Before {
    pins: Pins,
    /// Whether anything can be pinned there.
    can_pin: Result<()>,
    gate: Option<Gate>,
}

impl Before {
    fn find(config: &Config) -> Self {
        let root = pin_dir(config);
        let can_pin = match &config.gate {
            Some(_) => Pins::prepare(&root),
            None => Ok(()),
        };
        let pins = Pins::at(&root);
        let udp_idle = config.gate.as_ref().map(|gate| gate.rules.udp_idle);
        let gate = pins.gate(udp_idle.unwrap_or_default());
        Self {
            pins,
            can_pin,
            gate,
        }
    }
}

fn pin_dir(config: &Config) -> PathBuf {
    let gate = config.gate.as_ref();
    gate.map_or_else(|| DEFAULT_PIN_DIR.into(), |gate| gate.pin_dir.clone())
}

/// The HTTP server's socket, if there is to be one.
fn open_metrics(config: &Config) -> Result<Option<OwnedFd>> {
    config.metrics.map(exporter::bind).transpose()
}

/// Where the knocks come from, attached to nothing yet, and the gate.
fn open_source(
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
        return Ok((Source::Lines(lines::open(&path)?, path), None));
    }
    let (xdp, gate) = load(config, reporter)?;
    Ok((Source::Xdp(Box::new(xdp)), gate))
}

/// The program with the settings of `config`, attached to nothing, and its gate without leases.
pub(super) fn load(config: &Config, reporter: &Reporter) -> Result<(Xdp, Option<Gate>)> {
    let settings = Settings::new(config.window, config.verdict, config.limits.events);
    let Some(gate) = &config.gate else {
        return Ok((Xdp::load(settings, reporter.clone())?, None));
    };
    let (xdp, gate) = Xdp::load_with_gate(settings, &gate.rules, reporter.clone())?;
    Ok((xdp, Some(gate)))
}

/// The store of leases, if there are doors that have to be closed. One that does not work is
/// told, and keeps nobody out.
pub(super) fn open_store(config: &Config, reporter: &Reporter) -> Result<Option<Leases>> {
    if !config.doors.iter().any(Door::has_to_be_closed) {
        return Ok(None);
    }
    let (store, trouble) = Leases::open(&config.state_dir)?;
    if let Some(trouble) = trouble {
        reporter.report(Event::Trouble {
            message: format!("{trouble:#}"),
        });
    }
    Ok(Some(store))
}
