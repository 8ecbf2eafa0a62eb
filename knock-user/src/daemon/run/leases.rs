//! Open doors on disk: what was open when a daemon was killed is closed by the next.

use std::time::Duration;

use tracing::info;

use super::Daemon;
use crate::daemon::{
    clock::{monotonic, unix_ms},
    doors::{Terms, Visit},
    report::Event,
    store::{Store, leases::LeaseRecord},
};

impl Daemon {
    /// Takes over the doors that a daemon before this one left open.
    pub(super) fn restore_leases(&mut self) {
        let records = match self.store.as_mut().map(Store::leases) {
            None => return,
            Some(Ok(records)) => records,
            Some(Err(error)) => {
                return self.trouble(format!(
                    "doors that were open before may be open still, since the store does not work: {error:#}"
                ));
            }
        };
        for record in records {
            self.restore_lease(&record);
        }
    }

    fn restore_lease(&mut self, record: &LeaseRecord) {
        let door = self
            .config
            .doors
            .iter()
            .position(|door| door.name == record.door && door.close.is_some());
        let Some(door) = door else {
            self.trouble(format!(
                "door {:?} was open to {} when knockd was killed, and has no closing command in the configuration any more: close it by hand",
                record.door, record.source
            ));
            return self.forget_lease(&record.door, record.source);
        };
        let visit = Visit {
            door,
            source: record.source,
        };
        let lease = Duration::from_secs(record.seconds);
        let known = self
            .client_names
            .iter()
            .position(|name| *name == record.client);
        // The clock may have been set meanwhile: never longer than the lease itself.
        let left = Duration::from_millis(record.until.saturating_sub(unix_ms())).min(lease);
        let (client, left) = match known {
            Some(client) => (client, left),
            // Who is no client any more has no door open either.
            None => {
                self.client_names.push(record.client.clone());
                (self.client_names.len() - 1, Duration::ZERO)
            }
        };
        info!(
            "door {:?} was open to {} when knockd was killed: it is closed in {} s",
            record.door,
            record.source,
            left.as_secs()
        );
        let terms = Terms {
            client,
            lease,
            closes: true,
        };
        let until = monotonic() + left;
        self.doors.restore(visit, terms, until, record.opened);
    }

    /// Puts the door of `visit` on disk as it is now, if closing it runs a command.
    pub(super) fn keep_lease(&mut self, visit: Visit) {
        let door = &self.config.doors[visit.door];
        let (Some(store), Some(open)) = (&mut self.store, self.doors.get(&visit)) else {
            return;
        };
        if door.close.is_none() {
            return;
        }
        let left = open.until.saturating_sub(monotonic());
        let record = LeaseRecord {
            door: door.name.clone(),
            source: visit.source,
            client: self.client_names[open.client].clone(),
            seconds: open.lease.as_secs(),
            until: unix_ms().saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            opened: open.opened,
        };
        if let Err(error) = store.keep_lease(&record) {
            self.trouble(format!(
                "door {:?} stays open to {} if knockd is killed, since the store does not work: {error:#}",
                record.door, record.source
            ));
        }
    }

    /// Takes the door of `visit`, which is closed, off the disk.
    pub(super) fn end_lease(&mut self, visit: Visit) {
        let door = &self.config.doors[visit.door];
        if door.close.is_some() {
            let name = door.name.clone();
            self.forget_lease(&name, visit.source);
        }
    }

    fn forget_lease(&mut self, door: &str, source: std::net::IpAddr) {
        if let Some(store) = &mut self.store
            && let Err(error) = store.end_lease(door, source)
        {
            self.trouble(format!(
                "door {door:?} will be closed to {source} once more at the next start, since the store does not work: {error:#}"
            ));
        }
    }

    fn trouble(&self, message: String) {
        self.reporter.report(Event::Trouble { message });
    }
}
