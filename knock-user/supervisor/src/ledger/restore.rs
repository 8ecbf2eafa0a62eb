//! The doors that a previous daemon left open.

use std::time::Duration;

use knock_common::gate::LeaseKey;
use knockd_config::Config;
use knockd_runtime::clock::{monotonic, unix_ms};
use knockd_types::history::How;
use knockd_xdp::leases::Gate;
use tracing::{info, warn};

use super::Ledger;
use crate::{
    allowed::Allowed,
    doors::{DoorKey, Grant},
    lease_gate::LeaseGate,
    lease_journal::{Rest, rest},
    lease_record::LeaseRecord,
};

impl Ledger {
    /// Restores the doors in the journal, as far as `config` allows them, with the leases of the
    /// previous daemon's gate, `previous`. Returns `false` if the journal cannot be read.
    pub(crate) fn restore(
        &mut self,
        config: &Config,
        gate: &mut dyn LeaseGate,
        previous: Option<&Gate>,
    ) -> bool {
        let Some(records) = self.journal.records() else {
            return false;
        };
        let allowed = Allowed::by(config);
        for record in records {
            self.restore_record(gate, &record, previous, &allowed);
        }
        true
    }

    fn restore_record(
        &mut self,
        gate: &mut dyn LeaseGate,
        record: &LeaseRecord,
        previous: Option<&Gate>,
        allowed: &Allowed<'_>,
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
        let keys = self.catalog.door(door).opening.keys(record.source);
        let rest = match allowed.door(&record.client, &record.door, record.source) {
            Some((_, limit)) => match rest(record, granted(&keys, previous), unix_ms()) {
                Rest::Left(left) => Rest::Left(left.min(limit)),
                Rest::Revoked => Rest::Revoked,
            },
            None => Rest::Revoked,
        };
        let left = match rest {
            Rest::Left(left) => left,
            Rest::Revoked => Duration::ZERO,
        };
        info!(
            "door {:?} was open to {} when knockd ended: it is closed in {} s",
            record.door,
            record.source,
            left.as_secs()
        );
        let grant = Grant {
            client: self.catalog.number_of_client(&record.client),
            lease: Duration::from_secs(record.seconds),
        };
        self.doors
            .restore(key, grant, monotonic() + left, record.opened);
        self.history.restored(key, grant.client);
        if rest == Rest::Revoked {
            self.history.closing(key, How::Revoked);
        }
        if left > Duration::ZERO {
            self.renew(gate, key);
        }
        if let (Rest::Left(_), Some(previous)) = (rest, previous) {
            keep_in_use(gate, &keys, previous);
        }
    }
}

/// For how long the `previous` gate still grants the leases of a door. The gate contains expired
/// leases too. It has none for a door that was not open yet when the daemon was killed, and none for
/// ports that were added to the door since.
fn granted(keys: &[LeaseKey], previous: Option<&Gate>) -> Option<Duration> {
    let gate = previous.filter(|gate| gate.knows(keys))?;
    Some(gate.granted(keys))
}

/// Grants the leases that datagrams keep in use in the `previous` gate, for as long as they do.
fn keep_in_use(gate: &mut dyn LeaseGate, keys: &[LeaseKey], previous: &Gate) {
    for key in keys {
        let in_use = previous.in_use(&[*key]);
        if in_use > Duration::ZERO
            && let Err(error) = gate.grant(&[*key], in_use)
        {
            warn!("a lease that was in use has ended: {error}");
        }
    }
}
