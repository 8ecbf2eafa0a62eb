//! From a configuration to a daemon that runs.

use std::path::PathBuf;

use anyhow::{Result, bail};
use knock_common::{
    gate::Mode,
    settings::{Settings, Verdict},
};
use tokio::sync::mpsc;
use tracing::info;

use super::{
    config::{Client, Config, DEFAULT_PIN_DIR, Door, Key},
    control::server::Server,
    gate::{Gate, pins::Pins},
    metrics::exporter::Exporter,
    report::{Event, Reporter},
    run::{Daemon, Origin, Source, StopSignals},
    source::{
        interfaces::Watch,
        lines::Lines,
        xdp::{Xdp, ring::Ring},
    },
    store::Store,
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
    let server = Server::bind(&config.control_socket)?;
    let reporter = Reporter::default();
    let store = open_store(&config, &reporter)?;
    let before = Before::find(&config);
    let exporter = open_exporter(&config).await;
    let opened = open_source(&config, lines, &reporter);
    let opened = exporter.and_then(|exporter| {
        let (source, gate) = opened?;
        let watch = watch(&source)?;
        Ok((exporter, source, gate, watch))
    });
    let mut daemon = Daemon::new(config, store, reporter);
    let (exporter, source, gate, watch) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // What a daemon before this one left open must not wait for the mistake to be found.
            daemon.restore_leases(before.gate.as_ref());
            daemon.listen(Source::Ended, before.gate);
            daemon.close_what_is_left(&mut stop).await;
            return Err(error);
        }
    };
    daemon.listen(source, gate);
    daemon.restore_leases(before.gate.as_ref());
    if let Err(error) = daemon.attach(before.pins, before.can_pin) {
        daemon.listen(Source::Ended, before.gate);
        daemon.close_what_is_left(&mut stop).await;
        return Err(error);
    }
    watch.into_iter().for_each(|watch| daemon.follow(watch));
    daemon.reload_from(origin);
    run(daemon, stop, server, exporter).await
}

/// Runs a daemon that tells what it would do and does none of it, until a signal ends it.
///
/// # Errors
///
/// A sentence that says what is missing or taken.
pub async fn rehearse(mut config: Config, origin: Origin, lines: Option<PathBuf>) -> Result<()> {
    let stop = StopSignals::new()?;
    let server = Server::bind(&config.control_socket)?;
    let reporter = Reporter::default();
    only_look(&mut config);
    // A knock that is only rehearsed is spent all the same: else whoever saw it could use it later.
    let store = open_store(&config, &reporter)?;
    let exporter = open_exporter(&config).await?;
    let (source, gate) = open_source(&config, lines, &reporter)?;
    let mut daemon = Daemon::new(config, store, reporter);
    daemon.rehearse();
    let watch = watch(&source)?;
    daemon.listen(source, gate);
    daemon.attach_for_now()?;
    watch.into_iter().for_each(|watch| daemon.follow(watch));
    daemon.reload_from(origin);
    info!("dry run: nothing is dropped, no command is run, and nothing stays");
    run(daemon, stop, server, exporter).await
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
    let _server = Server::bind(&config.control_socket)?;
    let reporter = Reporter::default();
    let store = open_store(&config, &reporter)?;
    let pins = Pins::at(&pin_dir(&config));
    let udp_idle = config.gate.as_ref().map(|gate| gate.rules.udp_idle);
    let gate = pins.gate(udp_idle.unwrap_or_default());
    let mut daemon = Daemon::new(config, store, reporter);
    daemon.restore_leases(gate.as_ref());
    daemon.listen(Source::Ended, gate);
    daemon.close_everything(&mut stop).await;
    pins.detach();
    Ok(())
}

async fn run(
    mut daemon: Daemon,
    stop: StopSignals,
    server: Server,
    exporter: Option<Exporter>,
) -> Result<()> {
    // Requests wait their turn behind the doors; a few may queue.
    let (sender, requests) = mpsc::channel(16);
    if let Some(exporter) = exporter {
        daemon.measure(exporter.latencies());
        tokio::spawn(exporter.serve(sender.clone()));
    }
    let server = tokio::spawn(server.serve(sender));
    let result = daemon.run(stop, requests).await;
    server.abort();
    // Awaited, so that the socket's file is gone when the process is.
    let _ = server.await;
    result
}

/// A watch over the interfaces, from before they are looked at, so that no change is missed.
fn watch(source: &Source) -> Result<Option<Watch>> {
    match source {
        Source::Xdp(..) => Watch::new().map(Some),
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

/// The HTTP server for metrics, if there is to be one.
async fn open_exporter(config: &Config) -> Result<Option<Exporter>> {
    match config.metrics {
        Some(settings) => Exporter::bind(settings).await.map(Some),
        None => Ok(None),
    }
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
        return Ok((
            Source::Lines(Lines::open(&path, config.window)?, path),
            None,
        ));
    }
    let (xdp, gate) = load(config, reporter)?;
    let ring = Ring::open(xdp.events()?)?;
    Ok((Source::Xdp(Box::new(xdp), ring), gate))
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

/// The store, if there is anything to remember: knocks that hold once, doors that have to be
/// closed. One that does not work is told, and keeps sealed knocks out, but nobody else.
pub(super) fn open_store(config: &Config, reporter: &Reporter) -> Result<Option<Store>> {
    let sealed = |client: &Client| matches!(client.key, Key::Sealed(_));
    let closes = config.doors.iter().any(Door::has_to_be_closed);
    if !closes && !config.clients.iter().any(sealed) {
        return Ok(None);
    }
    let (store, trouble) = Store::open(&config.state_dir)?;
    if let Some(trouble) = trouble {
        reporter.report(Event::Trouble {
            message: format!("{trouble:#}"),
        });
    }
    Ok(Some(store))
}
