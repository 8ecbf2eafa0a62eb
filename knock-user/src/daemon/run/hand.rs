//! Doors that the administrator opens and closes by hand.

use std::{net::IpAddr, time::Duration};

use tracing::info;

use super::{BY_HAND, Daemon};
use crate::daemon::{
    clock::monotonic,
    config::MAX_LEASE,
    control::{CloseRequest, OpenRequest},
    doors::{Terms, Visit},
};

impl Daemon {
    /// Opens a door without a knock.
    ///
    /// # Errors
    ///
    /// A sentence for whoever asked.
    pub(super) fn open_by_hand(&mut self, request: &OpenRequest) -> Result<(), String> {
        let door = self.door_named(&request.door)?;
        let lease = match request.seconds {
            Some(seconds) => Duration::from_secs(seconds),
            None => self.catalog.door(door).lease,
        };
        if lease.is_zero() || lease > MAX_LEASE {
            return Err("a lease lasts from a second to 365 days".into());
        }
        info!(
            "opening door {:?} to {} by hand",
            request.door, request.source
        );
        let visit = Visit {
            door,
            source: request.source,
        };
        let terms = Terms {
            client: self.catalog.number_of_client(BY_HAND),
            lease,
        };
        if !self.open(visit, terms, None) {
            return Err("as many doors are open as `limits.open_doors` allows".into());
        }
        match self.doors.get(&visit) {
            Some(_) => Ok(()),
            None => Err("the gate has no room for a lease; look at knockd's log".into()),
        }
    }

    /// Closes a source's doors, or one of them; the names of those that were not closed.
    ///
    /// # Errors
    ///
    /// A sentence for whoever asked: there is no such door.
    pub(super) fn close_by_hand(&mut self, request: &CloseRequest) -> Result<Vec<String>, String> {
        let door = match &request.door {
            Some(name) => Some(self.door_named(name)?),
            None => None,
        };
        let visits: Vec<_> = self
            .doors
            .open()
            .map(|open| open.visit)
            .filter(|visit| door.is_none_or(|door| visit.door == door))
            .filter(|visit| self.is_for(*visit, request.source))
            .collect();
        for visit in &visits {
            info!(
                "closing door {:?} to {} by hand",
                self.catalog.door(visit.door).name,
                visit.source
            );
            self.revoke(*visit);
        }
        Ok(visits
            .iter()
            .map(|visit| self.catalog.door(visit.door).name.clone())
            .collect())
    }

    /// Ends the lease of `visit` now.
    pub(super) fn revoke(&mut self, visit: Visit) {
        let step = self.doors.revoke(visit, monotonic());
        // Closed also if this process ends before the door is.
        self.keep_lease(visit);
        if let Some(step) = step {
            self.step(step);
        }
    }

    /// Whether the door of `visit` lets `source` in: the very address, or one of its prefix.
    fn is_for(&self, visit: Visit, source: IpAddr) -> bool {
        let keys = self.keys(visit);
        visit.source == source || !keys.is_empty() && keys == self.opening_keys(visit.door, source)
    }

    fn door_named(&self, name: &str) -> Result<usize, String> {
        self.catalog
            .door_named(name)
            .ok_or_else(|| format!("there is no door {name:?} in the configuration"))
    }
}
