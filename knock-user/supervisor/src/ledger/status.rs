//! The open doors in `status`.

use knockd_runtime::clock::monotonic;
use knockd_types::status::DoorStatus;

use super::Ledger;

impl Ledger {
    /// The doors that are not closed, in the order of their names and sources.
    pub(crate) fn door_statuses(&self) -> Vec<DoorStatus> {
        let now = monotonic();
        let mut doors: Vec<_> = self
            .doors
            .open()
            .map(|open| {
                let door = self.catalog.door(open.key.door);
                DoorStatus {
                    door: door.name.clone(),
                    client: self.catalog.client(open.client).to_owned(),
                    source: open.key.source,
                    ports: door.opening.ports.iter().map(ToString::to_string).collect(),
                    state: open.state.to_owned(),
                    seconds_left: open.until.saturating_sub(now).as_secs(),
                }
            })
            .collect();
        doors.sort_by(|a, b| (&a.door, a.source).cmp(&(&b.door, b.source)));
        doors
    }

    /// The number of leases that the gate should hold. It is not counted in the kernel, which takes
    /// long if there are many.
    pub(crate) fn granted_leases(&self) -> usize {
        let admitting = self.doors.open().filter(|open| open.admits);
        admitting
            .map(|open| self.catalog.door(open.key.door).opening.ports.len())
            .sum()
    }
}
