//! The lease journal: the open doors that have to be closed. A record is on disk before its door
//! opens, so that a daemon that was killed closes the door after its restart.

use std::{
    net::{IpAddr, Ipv6Addr},
    path::Path,
};

use anyhow::Result;
use knockd_runtime::store::Store;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};

/// The door's name and the source's 16 bytes.
type Key = (&'static str, [u8; 16]);

/// The client's name, the lease in seconds, its end in Unix milliseconds, and whether `run`
/// has succeeded.
type Value = (&'static str, u64, u64, bool);

const LEASES: TableDefinition<'_, Key, Value> = TableDefinition::new("leases");

/// The file in `state_dir`.
const FILE: &str = "leases.redb";

/// The effect of a broken file.
const CONSEQUENCE: &str =
    "a door that is open when knockd is killed stays open until it is repaired or removed";

/// A door that is open for a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRecord {
    /// The door's name.
    pub door: String,
    /// The source address that the door is open for.
    pub source: IpAddr,
    /// The name of the client that knocked.
    pub client: String,
    /// The lease in seconds.
    pub seconds: u64,
    /// The end of the lease in Unix milliseconds.
    pub until: u64,
    /// Whether `run` has succeeded. If not, the next knock runs it.
    pub opened: bool,
}

/// The lease journal on disk.
#[derive(Debug)]
pub(crate) struct LeaseStore(Store);

impl LeaseStore {
    /// The journal in `state_dir`.
    ///
    /// The daemon also starts with a file that is damaged or not writable: the second value is
    /// the error, and all other functions fail until the file is repaired.
    ///
    /// # Errors
    ///
    /// Returns an error if another daemon has the journal open.
    pub(crate) fn open(state_dir: &Path) -> Result<(Self, Option<anyhow::Error>)> {
        let path = state_dir.join(FILE);
        let (store, problem) = Store::open(path.clone(), path, CONSEQUENCE)?;
        Ok((Self(store), problem))
    }

    /// Writes `record` to disk. It replaces an earlier record of the same door and source.
    ///
    /// # Errors
    ///
    /// Returns an error if the journal has failed: the door stays open if the daemon is killed.
    pub(crate) fn keep(&mut self, record: &LeaseRecord) -> Result<()> {
        self.0.with(|database| {
            let transaction = database.begin_write()?;
            {
                let mut leases = transaction.open_table(LEASES)?;
                let key = (record.door.as_str(), bytes(record.source));
                let value = (
                    record.client.as_str(),
                    record.seconds,
                    record.until,
                    record.opened,
                );
                leases.insert(key, value)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// Removes the record of `door` and `source` after the door was closed.
    ///
    /// # Errors
    ///
    /// Returns an error if the journal has failed: the door is closed again at the next start.
    pub(crate) fn end(&mut self, door: &str, source: IpAddr) -> Result<()> {
        self.0.with(|database| {
            let transaction = database.begin_write()?;
            transaction
                .open_table(LEASES)?
                .remove((door, bytes(source)))?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// The records of a previous daemon process.
    ///
    /// # Errors
    ///
    /// Returns an error if the journal has failed.
    pub(crate) fn all(&mut self) -> Result<Vec<LeaseRecord>> {
        self.0.with(leases)
    }
}

fn leases(database: &Database) -> Result<Vec<LeaseRecord>> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(LEASES) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut records = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        let (door, source) = key.value();
        let (client, seconds, until, opened) = value.value();
        records.push(LeaseRecord {
            door: door.to_owned(),
            source: Ipv6Addr::from(source).to_canonical(),
            client: client.to_owned(),
            seconds,
            until,
            opened,
        });
    }
    Ok(records)
}

fn bytes(source: IpAddr) -> [u8; 16] {
    match source {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_survive_and_end() {
        let dir = tempfile::tempdir().unwrap();
        let open = || LeaseStore::open(dir.path()).unwrap().0;
        let mut store = open();
        assert_eq!(store.all().unwrap(), []);
        let first = LeaseRecord {
            door: "ssh".into(),
            source: [192, 0, 2, 7].into(),
            client: "laptop".into(),
            seconds: 30,
            until: 1_800_000_000_000,
            opened: false,
        };
        let second = LeaseRecord {
            source: "2001:db8::7".parse().unwrap(),
            ..first.clone()
        };
        let extended = LeaseRecord {
            until: 1_800_000_030_000,
            opened: true,
            ..first.clone()
        };
        for record in [&first, &second, &extended] {
            store.keep(record).unwrap();
        }
        drop(store);
        let mut store = open();
        let mut kept = store.all().unwrap();
        kept.sort_by_key(|record| record.source);
        assert_eq!(kept, [extended, second.clone()]);
        store.end("ssh", first.source).unwrap();
        store.end("ssh", first.source).unwrap();
        drop(store);
        assert_eq!(open().all().unwrap(), [second]);
    }
}
