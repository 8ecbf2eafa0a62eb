//! The supervisor: knockd's privileged process.
//!
//! # Layout
//!
//! | module | owns |
//! |---|---|
//! | `listener_process` | the listener: start, restarts, phase, messages |
//! | `exporter_process`, `fleet_process` | the optional processes: what they are started with |
//! | `helper_process` | the start and restarts of an optional process |
//! | `datapath` | the source of SYNs, the gate's leases, pins and interfaces |
//! | `ledger` | doors, clients, the lease journal and commands |
//! | `reload` | reloads in progress, and the checks of a reloaded configuration |
//! | `client_expiry` | the time at which the next client expires |
//! | `requests` | a handler per request of the listener |
//! | `event_loop` | passes each event to one of these |

// They panic if the output is full or closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod allowed;
mod backoff;
mod capabilities;
mod catalog;
mod child;
mod client_expiry;
mod datapath;
mod doors;
mod event_loop;
pub mod exec;
mod exporter_process;
#[cfg(test)]
mod fixture;
mod fleet_digest;
mod fleet_process;
#[doc(hidden)]
pub mod fuzz;
mod helper_process;
mod history;
mod lease_gate;
mod lease_journal;
mod lease_record;
mod lease_store;
mod ledger;
mod listener_config;
mod listener_process;
pub mod origin;
mod outbox;
mod refusal;
mod reload;
mod replay_dir;
mod reporter;
mod requests;
mod resources;
pub mod sd_notify;
mod signals;
mod sockets;
mod source;
mod state;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Result;
use knockd_config::Config;
use knockd_xdp::pins::{Owner, PinDir};
use tracing::info;

pub use self::reporter::Reporter;
use self::{
    exporter_process::ExporterProcess,
    origin::Origin,
    outbox::Outbox,
    resources::{Previous, Sockets, force_observe, open_source, open_store, pin_dir, watch},
    signals::StopSignals,
    sockets::Socket,
    source::Source,
    state::Supervisor,
};

/// Runs a daemon until a signal stops it or its lines have ended. With `take_over`, it removes the
/// gate that another knockd, which no longer exists, has pinned in the same directory.
///
/// # Errors
///
/// Returns an error if something that the daemon needs is missing or in use. Doors that a previous
/// daemon left open are closed first.
pub async fn serve(
    config: Config,
    origin: Origin,
    lines: Option<PathBuf>,
    take_over: bool,
) -> Result<()> {
    // First, so that a signal during the start leaves no door open.
    let mut stop = StopSignals::new()?;
    let control = Socket::bind(&config.control_socket)?;
    let outbox = Outbox::default();
    let reporter = Reporter::new(outbox.clone());
    let owner = Owner::here(&origin.path, Some(&config.state_dir))?;
    let store = open_store(&config, &reporter)?;
    let found = capabilities::require(&config, lines.is_some())
        .and_then(|()| Previous::find(&config, &owner, take_over));
    let (previous, claimed) = match found {
        Ok(previous) => (previous, Ok(())),
        Err(error) => (Previous::none(), Err(error)),
    };
    let is_claimed = claimed.is_ok();
    let opened = claimed.and_then(|()| {
        let (source, gate) = open_source(&config, lines, &reporter)?;
        let watch = watch(&source)?;
        Ok((source, gate, watch))
    });
    let mut supervisor = Supervisor::new(config, store, reporter, outbox)?;
    supervisor.datapath.set_owner(owner);
    let (source, gate, watch) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // Doors that a previous daemon left open must not stay open until the error is fixed.
            // A gate that could not be claimed stays in force, as far as is known.
            let gate_stays = previous.gate.is_some() || !is_claimed;
            supervisor.restore_leases(previous.gate.as_ref());
            supervisor.datapath.set_source(Source::Ended, previous.gate);
            supervisor.close_restored(&mut stop, gate_stays).await;
            return Err(error);
        }
    };
    supervisor.datapath.set_source(source, gate);
    supervisor.restore_leases(previous.gate.as_ref());
    let attached = supervisor.datapath.attach(
        &supervisor.config.interfaces,
        previous.pins,
        previous.can_pin,
    );
    if let Err(error) = attached {
        let gate_stays = previous.gate.is_some();
        supervisor.datapath.set_source(Source::Ended, previous.gate);
        supervisor.close_restored(&mut stop, gate_stays).await;
        return Err(error);
    }
    supervisor.datapath.set_watch(watch);
    supervisor.reload.set_origin(origin);
    supervisor.exporter = ExporterProcess::new(supervisor.config.metrics);
    supervisor.run(stop, Sockets { control }).await
}

/// Runs a daemon that only logs its actions and executes none, until a signal stops it.
///
/// # Errors
///
/// Returns an error if something that the daemon needs is missing or in use.
pub async fn dry_run(mut config: Config, origin: Origin, lines: Option<PathBuf>) -> Result<()> {
    let stop = StopSignals::new()?;
    capabilities::require(&config, lines.is_some())?;
    let control = Socket::bind(&config.control_socket)?;
    let outbox = Outbox::default();
    let reporter = Reporter::new(outbox.clone());
    force_observe(&mut config);
    let (source, gate) = open_source(&config, lines, &reporter)?;
    // There is no lease journal. The listener has a replay store: otherwise an eavesdropper could
    // replay a knock that was sent during the dry run.
    let mut supervisor = Supervisor::new(config, None, reporter, outbox)?;
    supervisor.dry_run();
    let watch = watch(&source)?;
    supervisor.datapath.set_source(source, gate);
    supervisor
        .datapath
        .attach_unpinned(&supervisor.config.interfaces)?;
    supervisor.datapath.set_watch(watch);
    supervisor.reload.set_origin(origin);
    info!("dry run: nothing is dropped, no command is run, and nothing is pinned");
    supervisor.exporter = ExporterProcess::new(supervisor.config.metrics);
    supervisor.run(stop, Sockets { control }).await
}

/// Removes the gate that a daemon with the configuration from `path` has left in force, closes every
/// door that is still open, and tells `out` which ports are no longer protected. With `take_over`, it also
/// removes the gate of another knockd.
///
/// # Errors
///
/// Returns an error if a daemon is running, if its lease journal cannot be opened, or if the gate is
/// that of another knockd.
pub async fn detach(
    config: Config,
    path: &Path,
    take_over: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let mut stop = StopSignals::new()?;
    // Held, so that no daemon can start in the meantime.
    let _socket = Socket::bind(&config.control_socket)?;
    let outbox = Outbox::default();
    let reporter = Reporter::default();
    let owner = Owner::here(path, Some(&config.state_dir))?;
    let store = open_store(&config, &reporter)?;
    let pins = PinDir::claim(&pin_dir(&config), &owner, take_over)?;
    let udp_idle = config.gate.as_ref().map(|gate| gate.rules.udp_idle);
    let gate = pins.gate(udp_idle.unwrap_or_default());
    let mut supervisor = Supervisor::new(config, store, reporter, outbox)?;
    supervisor.restore_leases(gate.as_ref());
    supervisor.datapath.set_source(Source::Ended, gate);
    supervisor.close_all(&mut stop).await;
    pins.detach(out)
}
