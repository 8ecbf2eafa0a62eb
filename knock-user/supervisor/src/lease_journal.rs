//! Open doors on disk: what was open when a daemon was killed is closed by the next.

use std::time::Duration;

use tracing::info;

use crate::state::Supervisor;
use crate::{
    doors::{DoorKey, Grant},
    lease_store::{LeaseRecord, LeaseStore},
};
use knockd_runtime::clock::{monotonic, unix_ms};
use knockd_xdp::leases::Gate;

/// The end of a lease that was closed by hand, whatever the kernel has of it still.
const REVOKED: u64 = 0;

impl Supervisor {
    /// Takes over the doors that a daemon before this one left open, and its leases in the
    /// kernel, `before`.
    pub(crate) fn restore_leases(&mut self, before: Option<&Gate>) {
        let records = match self.store.as_mut().map(LeaseStore::all) {
            None => return,
            Some(Ok(records)) => records,
            Some(Err(error)) => {
                self.trouble(format!(
                    "doors that were open before may be open still, since the store does not work: {error:#}"
                ));
                return self.adopt_leases(before);
            }
        };
        for record in records {
            self.restore_lease(&record, before);
        }
    }

    /// Keeps leases of which it is not known whose they are; they end by themselves.
    fn adopt_leases(&mut self, before: Option<&Gate>) {
        let (Some(before), Some(gate)) = (before, &mut self.gate) else {
            return;
        };
        if let Err(error) = gate.adopt(before) {
            self.trouble(format!("the kernel's leases are lost: {error}"));
        }
    }

    fn restore_lease(&mut self, record: &LeaseRecord, before: Option<&Gate>) {
        let door = self
            .catalog
            .door_named(&record.door)
            .filter(|door| self.catalog.door(*door).has_to_be_closed());
        let Some(door) = door else {
            self.trouble(format!(
                "door {:?} was open to {} when knockd ended, and the configuration closes no such door any more: what its `run` did has to be undone by hand",
                record.door, record.source
            ));
            return self.forget_lease(&record.door, record.source);
        };
        let visit = DoorKey {
            door,
            source: record.source,
        };
        let lease = Duration::from_secs(record.seconds);
        let client = self.catalog.number_of_client(&record.client);
        // Who is no client any more has no door open either.
        let left = if self.catalog.has_client(client) {
            self.left_of(record, visit, before)
        } else {
            Duration::ZERO
        };
        info!(
            "door {:?} was open to {} when knockd ended: it is closed in {} s",
            record.door,
            record.source,
            left.as_secs()
        );
        let terms = Grant { client, lease };
        let until = monotonic() + left;
        self.doors.restore(visit, terms, until, record.opened);
        if left > Duration::ZERO {
            self.open_gate(visit);
        }
    }

    /// How long the door of `record` is to stay open. The kernel knows better than the disk:
    /// its clock cannot be set, and it sees whether a lease is in use.
    fn left_of(&self, record: &LeaseRecord, visit: DoorKey, before: Option<&Gate>) -> Duration {
        if record.until == REVOKED {
            return Duration::ZERO;
        }
        let lease = Duration::from_secs(record.seconds);
        let keys = self.opening_keys(visit.door, visit.source);
        // It knows nothing of a door that had not opened yet when the daemon died, nor of ports
        // that the door opens only now; what has ended it knows still.
        if let Some(gate) = before
            && gate.knows(&keys)
        {
            // Another door may have opened the same port for longer.
            return gate.left(&keys).min(lease).max(gate.in_use(&keys));
        }
        // The clock may have been set meanwhile: never longer than the lease itself.
        let left = Duration::from_millis(record.until.saturating_sub(unix_ms()));
        left.min(lease)
    }

    /// Puts the door of `visit` on disk as it is now, if there is anything to close.
    pub(crate) fn keep_lease(&mut self, visit: DoorKey) {
        let door = self.catalog.door(visit.door);
        let (Some(store), Some(open)) = (&mut self.store, self.doors.get(&visit)) else {
            return;
        };
        if !door.has_to_be_closed() || self.dry_run {
            return;
        }
        let left = open.until.saturating_sub(monotonic());
        let record = LeaseRecord {
            door: door.name.clone(),
            source: visit.source,
            client: self.catalog.client(open.client).to_owned(),
            seconds: open.lease.as_secs(),
            until: if left.is_zero() {
                REVOKED
            } else {
                unix_ms().saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
            },
            opened: open.opened,
        };
        if let Err(error) = store.keep(&record) {
            self.trouble(format!(
                "door {:?} stays open to {} if knockd is killed, since the store does not work: {error:#}",
                record.door, record.source
            ));
        }
    }

    /// Takes the door of `visit`, which is closed, off the disk.
    pub(crate) fn end_lease(&mut self, visit: DoorKey) {
        let door = self.catalog.door(visit.door);
        if door.has_to_be_closed() && !self.dry_run {
            let name = door.name.clone();
            self.forget_lease(&name, visit.source);
        }
    }

    fn forget_lease(&mut self, door: &str, source: std::net::IpAddr) {
        if let Some(store) = &mut self.store
            && let Err(error) = store.end(door, source)
        {
            self.trouble(format!(
                "door {door:?} will be closed to {source} once more at the next start, since the store does not work: {error:#}"
            ));
        }
    }
}
