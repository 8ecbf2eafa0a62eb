//! The journal of the doors that have to be closed, for the daemon's next start.
//!
//! A failing store never refuses a client. Each failure is reported with its effect.

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use knockd_runtime::clock::{monotonic, unix_ms};

use crate::{
    doors::OpenDoor,
    lease_record::LeaseRecord,
    lease_store::{LeaseStore, Survives},
    reporter::Reporter,
};

/// The end of a lease that was revoked, also if the kernel still has the lease.
const REVOKED: u64 = 0;

/// The end of a lease that has ended in time, whatever the wall clock says later.
const ENDED: u64 = 1;

/// The journal. If no door has to be closed, it has no store.
#[derive(Debug)]
pub(crate) struct LeaseJournal {
    store: Option<LeaseStore>,
    reporter: Reporter,
}

/// What is left of the lease of a previous daemon's door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It was revoked.
    Revoked,
    /// This time, also if it is zero. After it, datagrams keep leases of UDP ports in use.
    Left(Duration),
}

impl LeaseJournal {
    /// A journal in `store` that reports failures to `reporter`.
    pub(crate) fn new(store: Option<LeaseStore>, reporter: Reporter) -> Self {
        Self { store, reporter }
    }

    /// Whether there is a store.
    pub(crate) fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// Adds the store that a reload requires.
    pub(crate) fn set_store(&mut self, store: LeaseStore) {
        self.store = Some(store);
    }

    /// The records of a previous daemon; `None` if they cannot be read.
    pub(crate) fn records(&mut self) -> Option<Vec<LeaseRecord>> {
        let Some(store) = &mut self.store else {
            return Some(Vec::new());
        };
        store
            .all()
            .inspect_err(|error| {
                self.reporter.problem(format!(
                    "the lease journal failed; doors that were open before may still be open: {error:#}"
                ));
            })
            .ok()
    }

    /// Writes the state of an open door of this name, whose lease `client` has.
    pub(crate) fn write(&mut self, open: &OpenDoor, door: &str, client: &str, survives: Survives) {
        let Some(store) = &mut self.store else { return };
        let record = record(open, door, client, monotonic(), unix_ms());
        let written = store.keep(&record, survives);
        self.report(written, || {
            format!(
                "the lease journal failed; door {door:?} stays open to {} if knockd is killed",
                record.source
            )
        });
    }

    /// Removes the record of a door that was closed.
    pub(crate) fn remove(&mut self, door: &str, source: IpAddr) {
        let Some(store) = &mut self.store else { return };
        let removed = store.end(door, source);
        self.report(removed, || {
            format!(
                "the lease journal failed; door {door:?} is closed to {source} again at the next start"
            )
        });
    }

    fn report(&self, outcome: Result<()>, effect: impl FnOnce() -> String) {
        if let Err(error) = outcome {
            self.reporter.problem(format!("{}: {error:#}", effect()));
        }
    }
}

/// The record of an open door at `now`, which is `unix_now` on the wall clock.
fn record(open: &OpenDoor, door: &str, client: &str, now: Duration, unix_now: u64) -> LeaseRecord {
    let left = open.until.saturating_sub(now);
    // Only that of a lease which has ended in time is in the past.
    let left = if open.in_use { Duration::ZERO } else { left };
    LeaseRecord {
        door: door.to_owned(),
        source: open.key.source,
        client: client.to_owned(),
        seconds: open.lease.as_secs(),
        until: if open.revoked {
            REVOKED
        } else if left.is_zero() {
            ENDED
        } else {
            unix_now.saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
        },
        opened: open.opened,
    }
}

/// What is left of the lease of `record`. `kernel` is what is left of it in the kernel, which takes
/// precedence: the kernel's clock cannot be set.
pub(crate) fn rest(record: &LeaseRecord, kernel: Option<Duration>, unix_now: u64) -> Rest {
    if record.until == REVOKED {
        return Rest::Revoked;
    }
    if record.until == ENDED {
        return Rest::Left(Duration::ZERO);
    }
    let left =
        kernel.unwrap_or_else(|| Duration::from_millis(record.until.saturating_sub(unix_now)));
    // Another door may have opened the same port for longer, and the wall clock may have been set.
    Rest::Left(left.min(Duration::from_secs(record.seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::DoorKey;

    const NOW: Duration = Duration::from_secs(100);
    const UNIX_NOW: u64 = 1_800_000_000_000;

    fn open(until: Duration) -> OpenDoor {
        OpenDoor {
            key: DoorKey {
                door: 3,
                source: [192, 0, 2, 7].into(),
            },
            client: 1,
            lease: Duration::from_secs(30),
            until,
            opened: true,
            admits: true,
            revoked: false,
            in_use: false,
            state: "open",
        }
    }

    fn written(until: Duration) -> LeaseRecord {
        record(&open(until), "ssh", "laptop", NOW, UNIX_NOW)
    }

    #[test]
    fn a_record_ends_on_the_wall_clock_unless_the_lease_was_revoked() {
        let record = written(NOW + Duration::from_secs(20));
        assert_eq!(record.until, UNIX_NOW + 20_000);
        assert_eq!(
            (record.door.as_str(), record.client.as_str()),
            ("ssh", "laptop")
        );
        assert_eq!((record.seconds, record.opened), (30, true));
        assert_eq!(written(NOW).until, ENDED);
        let revoked = OpenDoor {
            revoked: true,
            ..open(NOW)
        };
        let record = super::record(&revoked, "ssh", "laptop", NOW, UNIX_NOW);
        assert_eq!(record.until, REVOKED);
        let in_use = OpenDoor {
            in_use: true,
            ..open(NOW + Duration::from_secs(20))
        };
        let record = super::record(&in_use, "ssh", "laptop", NOW, UNIX_NOW);
        assert_eq!(record.until, ENDED, "whoever uses it");
    }

    #[test]
    fn without_the_kernel_the_rest_of_the_lease_counts_and_never_more_than_the_lease() {
        let record = written(NOW + Duration::from_secs(20));
        let rest = |unix_now| rest(&record, None, unix_now);
        let left = |secs| Rest::Left(Duration::from_secs(secs));
        assert_eq!(rest(UNIX_NOW + 5_000), left(15));
        assert_eq!(rest(UNIX_NOW + 60_000), left(0));
        assert_eq!(rest(0), left(30), "the clock was set back");
    }

    #[test]
    fn the_kernel_takes_precedence_except_for_a_revoked_lease() {
        let secs = Duration::from_secs;
        let mut record = written(NOW + secs(20));
        for (kernel, left) in [(7, 7), (99, 30), (0, 0)] {
            let rest = rest(&record, Some(secs(kernel)), UNIX_NOW);
            assert_eq!(rest, Rest::Left(secs(left)));
        }
        record.until = ENDED;
        // Neither another door's lease nor a clock that was set back brings it back.
        for kernel in [Some(secs(7)), None] {
            assert_eq!(rest(&record, kernel, 0), Rest::Left(secs(0)));
        }
        record.until = REVOKED;
        assert_eq!(rest(&record, Some(secs(7)), UNIX_NOW), Rest::Revoked);
    }

    #[test]
    fn the_records_of_a_previous_daemon_are_read_until_they_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let journal = || {
            let (store, problem) = LeaseStore::open(dir.path()).unwrap();
            assert!(problem.is_none());
            LeaseJournal::new(Some(store), Reporter::default())
        };
        let mut before = journal();
        let open = open(monotonic() + Duration::from_secs(30));
        before.write(&open, "ssh", "laptop", Survives::Crash);
        drop(before);
        let mut after = journal();
        let records = after.records().unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].source, open.key.source);
        after.remove("ssh", open.key.source);
        assert_eq!(after.records(), Some(Vec::new()));
    }

    #[test]
    fn without_a_store_nothing_is_written() {
        let mut journal = LeaseJournal::new(None, Reporter::default());
        journal.write(&open(NOW), "ssh", "laptop", Survives::PowerFailure);
        journal.remove("ssh", [192, 0, 2, 7].into());
        assert_eq!(journal.records(), Some(Vec::new()));
        assert!(!journal.has_store());
    }
}
