//! The kernel leases of the gate.

use std::time::Duration;

use anyhow::Result;
use knock_common::gate::LeaseKey;
use knockd_xdp::leases::{Gate, OpenError};
use tracing::warn;

use super::Datapath;
use crate::lease_gate::LeaseGate;

/// The largest difference between two clocks that are read one after the other.
const CLOCK_DIFFERENCE: Duration = Duration::from_millis(1);

impl LeaseGate for Datapath {
    fn exists(&self) -> bool {
        self.gate.is_some()
    }

    fn grant(&mut self, keys: &[LeaseKey], time: Duration) -> Result<(), OpenError> {
        match &mut self.gate {
            Some(gate) => gate.open(keys, time),
            None => Ok(()),
        }
    }

    fn shorten(&mut self, key: LeaseKey, left: Option<Duration>) -> Result<()> {
        match (&mut self.gate, left) {
            (Some(gate), Some(left)) => gate.shorten(&key, left)?,
            (Some(gate), None) => gate.close(&[key])?,
            (None, _) => {}
        }
        Ok(())
    }

    fn in_use(&self, keys: &[LeaseKey]) -> Option<Duration> {
        let left = self.gate.as_ref()?.in_use(keys);
        (left > CLOCK_DIFFERENCE).then_some(left)
    }
}

impl Datapath {
    /// Copies every lease of the `previous` daemon's gate. Their doors are unknown, so they expire
    /// as granted.
    pub(crate) fn adopt_leases(&mut self, previous: &Gate) {
        let Some(gate) = &mut self.gate else { return };
        if let Err(error) = gate.adopt(previous) {
            self.reporter
                .problem(format!("the leases of the gate are lost: {error}"));
        }
    }

    /// A handle of the gate, to count its leases in another thread; `None` without a gate.
    pub(crate) fn gate_handle(&self) -> Option<Gate> {
        self.gate
            .as_ref()?
            .try_clone()
            .inspect_err(|error| warn!("cannot count the leases of the gate: {error}"))
            .ok()
    }
}
