//! The records of open doors in the lease journal.

use super::Ledger;
use crate::{doors::DoorKey, lease_store::Survives};

impl Ledger {
    /// Writes the state of an open door to the journal, if it has to be closed.
    pub(super) fn write_journal(&mut self, key: DoorKey) {
        self.journal(key, Survives::PowerFailure);
    }

    /// The same for a door that was opened or extended. A door that only the gate opens is closed by a
    /// power failure, which the gate's leases do not survive, so its record need not either.
    pub(super) fn journal_grant(&mut self, key: DoorKey) {
        self.journal(key, self.survives(key));
    }

    /// What the record of a door has to survive that was opened or extended.
    pub(super) fn survives(&self, key: DoorKey) -> Survives {
        let admits = self.doors.get(&key).is_some_and(|open| open.admits);
        let needs_closing = self.catalog.door(key.door).close.is_some();
        match admits && !needs_closing {
            true => Survives::Crash,
            false => Survives::PowerFailure,
        }
    }

    fn journal(&mut self, key: DoorKey, survives: Survives) {
        let door = self.catalog.door(key.door);
        if self.is_dry_run || !door.has_to_be_closed() {
            return;
        }
        if let Some(open) = self.doors.get(&key) {
            let client = self.catalog.client(open.client);
            self.journal.write(&open, &door.name, client, survives);
        }
    }

    /// Removes a closed door from the journal.
    pub(super) fn remove_from_journal(&mut self, key: DoorKey) {
        let door = self.catalog.door(key.door);
        if !self.is_dry_run && door.has_to_be_closed() {
            self.journal.remove(&door.name, key.source);
        }
    }
}
