//! Replaces the program that is in force, for a reload.

use std::{os::fd::OwnedFd, time::Duration};

use anyhow::{Context as _, Result, bail};
use knock_common::gate::LeaseKey;
use knockd_config::Config;
use knockd_xdp::{
    leases::Gate,
    pins::{Owner, PinDir},
};
use rustix::thread::{MembarrierCommand, membarrier};
use tracing::warn;

use super::Datapath;
use crate::{resources, source::Source};

impl Datapath {
    /// Replaces the program by one with the settings of `config` and the leases that `leases`
    /// returns, atomically on each interface. With `pins`, pins the new program. Returns the
    /// ring buffers of the new program; none if lines are read. The listener still reads the
    /// remaining events in the ring buffers of the old program.
    ///
    /// # Errors
    ///
    /// Returns an error if the program cannot be replaced. The old one is still in force.
    pub(crate) fn replace_program(
        &mut self,
        config: &Config,
        pins: bool,
        leases: impl Fn(&Self) -> Vec<(LeaseKey, Duration)>,
    ) -> Result<Vec<OwnedFd>> {
        if self.reads_lines() {
            return Ok(Vec::new());
        }
        let (mut next, mut gate) = resources::load(config, &self.reporter)?;
        let rings = next.rings()?;
        copy(&leases(self), gate.as_mut())?;
        let Source::Xdp(current) = &mut self.source else {
            bail!("there is no program");
        };
        let missing = next.replace(current, &config.interfaces)?;
        // Datagrams that arrived meanwhile have extended leases in the old map.
        if let Err(error) = copy(&leases(self), gate.as_mut()) {
            warn!("a lease is not extended: {error:#}");
        }
        // Waits until no CPU runs the old program: the kernel implements it as synchronize_rcu().
        if let Err(error) = membarrier(MembarrierCommand::Global) {
            // Then the last event of the old program may be lost.
            warn!("the old program may still be running: {error}");
        }
        if let Err(error) = next.set_log(self.logs_packets) {
            warn!("cannot switch the kernel's log lines: {error:#}");
        }
        self.gate = gate;
        self.source = Source::Xdp(Box::new(next));
        self.pin_again(config, pins);
        self.await_interfaces(&missing);
        Ok(rings)
    }

    /// Pins the gate that is in force, or removes the pins if there is none.
    fn pin_again(&mut self, config: &Config, pins: bool) {
        let (Source::Xdp(xdp), Some(gate)) = (&mut self.source, &self.gate) else {
            if let Some(pins) = self.pins.take() {
                warn!("the gate is removed: the configuration has no [gate]");
                pins.remove();
            }
            return;
        };
        if !pins {
            return;
        }
        let prepared = match &self.pins {
            Some(_) => PinDir::prepare(&resources::pin_dir(config)),
            None => claim(config, self.owner.as_ref()).map(|pins| self.pins = Some(pins)),
        };
        let pinned = prepared.and_then(|()| match &self.pins {
            Some(pins) => xdp.pin(gate, pins),
            None => Ok(()),
        });
        // The pins stay claimed: what is pinned of the gate is still this daemon's.
        if let Err(error) = pinned {
            self.report_unpinned(&error);
        }
    }
}

/// The pins of a gate that has none yet, for `owner`.
fn claim(config: &Config, owner: Option<&Owner>) -> Result<PinDir> {
    let root = resources::pin_dir(config);
    let owner = owner.context("nothing is to be pinned")?;
    PinDir::prepare(&root)?;
    let pins = PinDir::claim(&root, owner, false)?;
    pins.record(owner)?;
    Ok(pins)
}

/// Grants `leases` in `gate`, if there is one.
fn copy(leases: &[(LeaseKey, Duration)], gate: Option<&mut Gate>) -> Result<()> {
    let Some(gate) = gate else { return Ok(()) };
    for (key, left) in leases {
        gate.open(&[*key], *left).context("the new gate")?;
    }
    Ok(())
}
