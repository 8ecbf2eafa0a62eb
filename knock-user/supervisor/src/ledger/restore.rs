//! The doors that a previous daemon left open.

use std::time::Duration;

use knockd_runtime::clock::{monotonic, unix_ms};
use knockd_xdp::leases::Gate;
use tracing::info;

use super::Ledger;
use crate::{
    doors::{DoorKey, Grant},
    lease_gate::LeaseGate,
    lease_journal::{KernelLease, time_left},
    lease_record::LeaseRecord,
};

impl Ledger {
    /// Restores the doors in the journal, with the leases of the previous daemon's gate,
    /// `previous`. Returns `false` if the journal cannot be read.
    pub(crate) fn restore(&mut self, gate: &mut dyn LeaseGate, previous: Option<&Gate>) -> bool {
        let Some(records) = self.journal.records() else {
            return false;
        };
        for record in records {
            self.restore_record(gate, &record, previous);
        }
        true
    }

    fn restore_record(
        &mut self,
        gate: &mut dyn LeaseGate,
        record: &LeaseRecord,
        previous: Option<&Gate>,
    ) {
        let door = self
            .catalog
            .door_named(&record.door)
            .filter(|door| self.catalog.door(*door).has_to_be_closed());
        let Some(door) = door else {
            self.reporter.problem(format!(
                "door {:?} was open to {} when knockd ended, and the configuration has no such door to close: undo the effect of its `run` manually",
                record.door, record.source
            ));
            return self.journal.remove(&record.door, record.source);
        };
        let key = DoorKey {
            door,
            source: record.source,
        };
        let client = self.catalog.number_of_client(&record.client);
        // A client that was removed from the configuration has no door open.
        let left = if self.catalog.has_client(client) {
            time_left(record, self.kernel_lease(key, previous), unix_ms())
        } else {
            Duration::ZERO
        };
        info!(
            "door {:?} was open to {} when knockd ended: it is closed in {} s",
            record.door,
            record.source,
            left.as_secs()
        );
        let grant = Grant {
            client,
            lease: Duration::from_secs(record.seconds),
        };
        self.doors
            .restore(key, grant, monotonic() + left, record.opened);
        if left > Duration::ZERO {
            self.renew(gate, key);
        }
    }

    /// The leases of a door in the `previous` gate. The gate contains expired leases too. It has
    /// none for a door that was not open yet when the daemon was killed, and none for ports that
    /// were added to the door since.
    fn kernel_lease(&self, key: DoorKey, previous: Option<&Gate>) -> Option<KernelLease> {
        let keys = self.catalog.door(key.door).opening.keys(key.source);
        let gate = previous.filter(|gate| gate.knows(&keys))?;
        Some(KernelLease {
            left: gate.left(&keys),
            in_use: gate.in_use(&keys),
        })
    }
}
