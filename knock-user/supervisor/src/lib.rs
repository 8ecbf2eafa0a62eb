//! From a configuration to a daemon that runs.

mod actions;
mod catalog;
mod child;
mod doors;
mod event_loop;
pub mod exec;
mod exporter_process;
mod gate;
mod interfaces;
mod lease_journal;
mod lease_store;
mod listener_process;
pub mod origin;
mod outbox;
mod reload;
mod reporter;
mod requests;
mod resources;
pub mod sd_notify;
mod signals;
mod sockets;
mod state;
mod status;

use std::path::PathBuf;

use anyhow::Result;
use knockd_config::Config;
use knockd_xdp::pins::PinDir;
use tracing::info;

pub use self::reporter::Reporter;
use self::{
    exporter_process::ExporterProcess,
    origin::Origin,
    outbox::Outbox,
    resources::{
        Before, Sockets, Source, force_observe, open_metrics, open_source, open_store, pin_dir,
        watch,
    },
    signals::StopSignals,
    sockets::Socket,
    state::Supervisor,
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
    let reporter = Reporter::new(outbox.clone());
    let store = open_store(&config, &reporter)?;
    let before = Before::find(&config);
    let metrics = open_metrics(&config);
    let opened = open_source(&config, lines, &reporter);
    let opened = metrics.and_then(|metrics| {
        let (source, gate) = opened?;
        let watch = watch(&source)?;
        Ok((metrics, source, gate, watch))
    });
    let mut keeper = Supervisor::new(config, store, reporter, outbox)?;
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
    keeper.exporter = ExporterProcess::new(metrics);
    keeper.run(stop, Sockets { control }).await
}

/// Runs a daemon that tells what it would do and does none of it, until a signal ends it.
///
/// # Errors
///
/// A sentence that says what is missing or taken.
pub async fn dry_run(mut config: Config, origin: Origin, lines: Option<PathBuf>) -> Result<()> {
    let stop = StopSignals::new()?;
    let control = Socket::bind(&config.control_socket)?;
    let outbox = Outbox::default();
    let reporter = Reporter::new(outbox.clone());
    force_observe(&mut config);
    let metrics = open_metrics(&config)?;
    let (source, gate) = open_source(&config, lines, &reporter)?;
    // No lease is kept. But the listener remembers knocks: else whoever saw one that was only
    // rehearsed could use it later.
    let mut keeper = Supervisor::new(config, None, reporter, outbox)?;
    keeper.dry_run();
    let watch = watch(&source)?;
    keeper.listen(source, gate);
    keeper.attach_for_now()?;
    watch.into_iter().for_each(|watch| keeper.follow(watch));
    keeper.reload_from(origin);
    info!("dry run: nothing is dropped, no command is run, and nothing stays");
    keeper.exporter = ExporterProcess::new(metrics);
    keeper.run(stop, Sockets { control }).await
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
    let pins = PinDir::at(&pin_dir(&config));
    let udp_idle = config.gate.as_ref().map(|gate| gate.rules.udp_idle);
    let gate = pins.gate(udp_idle.unwrap_or_default());
    let mut keeper = Supervisor::new(config, store, reporter, outbox)?;
    keeper.restore_leases(gate.as_ref());
    keeper.listen(Source::Ended, gate);
    keeper.close_everything(&mut stop).await;
    pins.detach();
    Ok(())
}
