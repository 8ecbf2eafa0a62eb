//! The lease journal: the open doors that have to be closed. A record is written before its door
//! opens, so that a daemon that was killed closes the door after its restart.

pub(crate) mod slot;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    net::IpAddr,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use knockd_runtime::durable::{DurableFile, HEADER_LEN, MAX_LEN, Taken};

use self::slot::{HALF_LEN, Half, SLOT_LEN, Slot, State};
use crate::lease_record::LeaseRecord;

/// The file in `state_dir`.
const FILE: &str = "leases.journal";

const MAGIC: &[u8] = b"knockd lease journal 2\n";

/// The effect of a broken file.
const CONSEQUENCE: &str =
    "a door that is open when knockd is killed stays open until it is repaired or removed";

/// The slots that a new file has, and those that are added when all are in use: 512 KiB.
const SLOTS: usize = 1024;

/// The slots that the longest file has: 131,072.
const MAX_SLOTS: usize = MAX_LEN / SLOT_LEN;

const _: () = assert!(MAX_SLOTS.is_multiple_of(SLOTS));

/// The door's name and the source.
type Key = (String, IpAddr);

/// What a record survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survives {
    /// Everything: it is on disk when the write returns.
    PowerFailure,
    /// The end of this process: it is in the kernel's page cache. That takes microseconds.
    Crash,
}

/// The lease journal on disk.
#[derive(Debug)]
pub(crate) struct LeaseStore {
    path: PathBuf,
    /// `None` after an error. Then the file is opened again on the next use, so that the daemon
    /// recovers from a full disk without a restart.
    open: Option<Open>,
}

/// An open journal.
#[derive(Debug)]
struct Open {
    file: DurableFile,
    /// The same file, without `O_DSYNC`.
    cached: File,
    slots: Vec<Slot>,
    /// The records with the indices of their slots.
    records: BTreeMap<Key, (usize, LeaseRecord)>,
    /// The indices of the slots without a record.
    free: Vec<usize>,
}

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
        let mut store = Self {
            path: state_dir.join(FILE),
            open: None,
        };
        match store.with(|_| Ok(())) {
            Ok(()) => Ok((store, None)),
            Err(error) if error.is::<Taken>() => bail!(
                "another knockd uses {}: stop it, or set another `state_dir`",
                store.path.display()
            ),
            Err(error) => Ok((store, Some(error))),
        }
    }

    /// Writes `record`. It replaces an earlier record of the same door and source.
    ///
    /// # Errors
    ///
    /// Returns an error if the journal has failed: the door stays open if the daemon is killed.
    pub(crate) fn keep(&mut self, record: &LeaseRecord, survives: Survives) -> Result<()> {
        self.with(|open| open.keep(record, survives))
    }

    /// Removes the record of `door` and `source` after the door was closed.
    ///
    /// # Errors
    ///
    /// Returns an error if the journal has failed: the door is closed again at the next start.
    pub(crate) fn end(&mut self, door: &str, source: IpAddr) -> Result<()> {
        self.with(|open| open.end(&(door.to_owned(), source)))
    }

    /// The records of a previous daemon process.
    ///
    /// # Errors
    ///
    /// Returns an error if the journal has failed.
    pub(crate) fn all(&mut self) -> Result<Vec<LeaseRecord>> {
        self.with(|open| {
            let records = open.records.values();
            Ok(records.map(|(_, record)| record.clone()).collect())
        })
    }

    /// Runs `work` on the open journal. Opens it again if the last use failed.
    fn with<T>(&mut self, work: impl FnOnce(&mut Open) -> Result<T>) -> Result<T> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.path).with_context(|| {
                format!(
                    "the store {} cannot be opened and is left unchanged; {CONSEQUENCE}",
                    self.path.display()
                )
            })?,
        };
        let result = work(&mut open);
        // After an error the file may differ from what is in memory.
        if result.is_ok() {
            self.open = Some(open);
        }
        result
    }
}

impl Open {
    fn new(path: &Path) -> Result<Self> {
        DurableFile::create(path, MAGIC, SLOTS * SLOT_LEN)?;
        let (file, content) = DurableFile::open(path, MAGIC)?;
        let cached = OpenOptions::new().write(true).open(path)?;
        let (slots, rest) = content.as_chunks::<SLOT_LEN>();
        ensure!(
            rest.is_empty(),
            "it is damaged: its last slot is incomplete"
        );
        let mut open = Self {
            file,
            cached,
            slots: Vec::new(),
            records: BTreeMap::new(),
            free: Vec::new(),
        };
        for (index, bytes) in slots.iter().enumerate() {
            let (slot, state) = Slot::from_bytes(bytes)
                .with_context(|| format!("it is damaged: its slot {index} is not valid"))?;
            open.slots.push(slot);
            match state {
                State::Open(record) => {
                    let key = (record.door.clone(), record.source);
                    let double = open.records.insert(key, (index, record));
                    ensure!(
                        double.is_none(),
                        "it is damaged: its slot {index} has the record of another one"
                    );
                }
                State::Free => open.free.push(index),
            }
        }
        // The first slots first.
        open.free.reverse();
        Ok(open)
    }

    fn keep(&mut self, record: &LeaseRecord, survives: Survives) -> Result<()> {
        let key = (record.door.clone(), record.source);
        let known = self.records.get(&key).map(|(index, _)| *index);
        let index = match known {
            Some(index) => index,
            None => self.take_free()?,
        };
        self.write(index, &State::Open(record.clone()), survives)?;
        self.records.insert(key, (index, record.clone()));
        Ok(())
    }

    fn end(&mut self, key: &Key) -> Result<()> {
        let Some((index, _)) = self.records.remove(key) else {
            return Ok(());
        };
        self.write(index, &State::Free, Survives::PowerFailure)?;
        self.free.push(index);
        Ok(())
    }

    /// A slot without a record. If there is none, the file grows.
    fn take_free(&mut self) -> Result<usize> {
        if self.free.is_empty() {
            let len = self.slots.len();
            // A longer file could not be opened again.
            ensure!(
                len < MAX_SLOTS,
                "the store is full: {MAX_SLOTS} doors are open"
            );
            self.file
                .write(len * SLOT_LEN, &vec![0; SLOTS * SLOT_LEN])?;
            self.slots.resize(len + SLOTS, Slot::default());
            self.free.extend((len..len + SLOTS).rev());
        }
        self.free.pop().context("there is no free slot")
    }

    /// Writes `state` to the half of the slot that is not in force, which then is.
    fn write(&mut self, index: usize, state: &State, survives: Survives) -> Result<()> {
        let slot = &mut self.slots[index];
        let next = slot.next();
        let at = index * SLOT_LEN + next.half() * HALF_LEN;
        let half = Half::of(next, state).to_bytes();
        match survives {
            Survives::PowerFailure => self.file.write(at, &half)?,
            Survives::Crash => self.cached.write_all_at(&half, (HEADER_LEN + at) as u64)?,
        }
        *slot = next;
        Ok(())
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
            store.keep(record, Survives::PowerFailure).unwrap();
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

    fn record(n: u32) -> LeaseRecord {
        LeaseRecord {
            door: format!("door-{}", n % 7),
            source: std::net::Ipv4Addr::from_bits(n).into(),
            client: "laptop".into(),
            seconds: 30,
            until: 1_800_000_000_000 + u64::from(n),
            opened: n.is_multiple_of(2),
        }
    }

    #[test]
    fn the_file_grows_with_the_open_doors_and_its_slots_are_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let open = || LeaseStore::open(dir.path()).unwrap().0;
        let mut store = open();
        let all: Vec<_> = (1..=2500).map(record).collect();
        for record in &all {
            store.keep(record, Survives::PowerFailure).unwrap();
        }
        let len = || std::fs::metadata(dir.path().join(FILE)).unwrap().len();
        let grown = len();
        drop(store);
        let mut store = open();
        let mut found = store.all().unwrap();
        found.sort_by_key(|record| record.source);
        assert_eq!(found, all);
        for record in &all {
            store.end(&record.door, record.source).unwrap();
        }
        for record in all.iter().rev() {
            store.keep(record, Survives::PowerFailure).unwrap();
        }
        assert_eq!(len(), grown);
        drop(store);
        assert_eq!(open().all().unwrap().len(), all.len());
    }

    #[test]
    fn what_survives_a_crash_is_written_to_the_same_places() {
        let dir = tempfile::tempdir().unwrap();
        let open = || LeaseStore::open(dir.path()).unwrap().0;
        let mut store = open();
        // To both halves of each slot.
        for _ in 0..2 {
            for n in 1..=3 {
                store.keep(&record(n), Survives::Crash).unwrap();
                drop(store);
                store = open();
                let found = store.all().unwrap();
                assert!(found.contains(&record(n)), "{n}: {found:?}");
            }
        }
        assert_eq!(store.all().unwrap().len(), 3);
    }

    #[test]
    fn a_write_that_is_torn_at_any_byte_leaves_the_state_before_or_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let open = || LeaseStore::open(dir.path()).unwrap().0;
        let mut store = open();
        store.keep(&record(1), Survives::PowerFailure).unwrap();
        let longer = LeaseRecord {
            until: u64::MAX,
            ..record(1)
        };
        type Change<'a> = &'a dyn Fn(&mut LeaseStore);
        let changes: [Change<'_>; 4] = [
            &|store| store.keep(&record(2), Survives::PowerFailure).unwrap(),
            &|store| store.keep(&longer, Survives::PowerFailure).unwrap(),
            &|store| store.end(&longer.door, longer.source).unwrap(),
            &|store| store.keep(&record(3), Survives::PowerFailure).unwrap(),
        ];
        for change in changes {
            let (before, old) = (store.all().unwrap(), std::fs::read(&path).unwrap());
            change(&mut store);
            let (after, new) = (store.all().unwrap(), std::fs::read(&path).unwrap());
            drop(store);
            let differs = |at: &usize| old[*at] != new[*at];
            let first = (0..old.len()).find(differs).unwrap();
            let last = (0..old.len()).rfind(differs).unwrap();
            assert!(last - first < HALF_LEN);
            for torn in first..=last + 1 {
                for (head, tail) in [(&new, &old), (&old, &new)] {
                    std::fs::write(&path, [&head[..torn], &tail[torn..]].concat()).unwrap();
                    let found = open().all().unwrap();
                    assert!(found == before || found == after, "{torn}: {found:?}");
                }
            }
            std::fs::write(&path, &new).unwrap();
            store = open();
        }
    }

    #[test]
    fn a_damaged_file_is_left_as_it_is_and_recovers_when_it_is_repaired() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let (mut store, _) = LeaseStore::open(dir.path()).unwrap();
        store.keep(&record(1), Survives::PowerFailure).unwrap();
        store.keep(&record(1), Survives::PowerFailure).unwrap();
        drop(store);
        let whole = std::fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        for half in 0..2 {
            damaged[4096 + half * HALF_LEN + 50] ^= 1;
        }
        for bytes in [&damaged[..], b"", &whole[..whole.len() - 1]] {
            std::fs::write(&path, bytes).unwrap();
            let (mut store, problem) = LeaseStore::open(dir.path()).unwrap();
            let problem = format!("{:#}", problem.unwrap());
            assert!(problem.contains("left unchanged"), "{problem}");
            assert!(store.keep(&record(2), Survives::PowerFailure).is_err());
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            std::fs::write(&path, &whole).unwrap();
            assert_eq!(store.all().unwrap(), [record(1)]);
        }
    }

    #[test]
    fn two_daemons_do_not_share_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let _store = LeaseStore::open(dir.path()).unwrap();
        let error = LeaseStore::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("another knockd"), "{error:#}");
    }
}
