//! The history of what was accepted.

use knockd_runtime::clock::{monotonic, unix_ms};
use knockd_types::{
    event::AdmissionInfo,
    history::{Accepted, How, Moment},
};

use super::{Knock, Ledger};
use crate::doors::DoorKey;

impl Ledger {
    /// Records the accepted knock whose door is open now, or that `extends` it.
    pub(super) fn record_knock(
        &mut self,
        key: DoorKey,
        admission: &AdmissionInfo,
        knock: &Knock,
        extends: bool,
    ) {
        let Some(open) = self.doors.get(&key) else {
            return;
        };
        let (now, time) = (monotonic(), Moment::from_unix_ms(unix_ms()));
        // A door that is closing opens again for the whole lease.
        let left = open.until.saturating_sub(now).max(open.lease);
        let accepted = Accepted {
            time,
            client: admission.client.clone(),
            door: admission.door.clone(),
            source: key.source,
            sender: knock.sender,
            until: time.after(left),
            via: knock.via,
            left_out: 0,
        };
        self.history
            .accepted(key, open.client, accepted, extends, now);
    }

    /// Records the end of a door.
    pub(super) fn record_end(&mut self, key: DoorKey) {
        let catalog = &self.catalog;
        let door = &catalog.door(key.door).name;
        self.history
            .closed(key, door, |client| catalog.client(client));
    }

    /// Records that a door is, or may be, in another state than the client wished.
    pub(super) fn record_failure(&mut self, key: DoorKey, how: How) {
        self.history.closing(key, how);
        self.record_end(key);
    }
}
