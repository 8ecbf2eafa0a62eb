use std::fs;

use knockd_runtime::durable::HEADER_LEN;
use proptest::prelude::*;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("journal")
    }

    fn open(&self) -> (Journal, Vec<Record>) {
        DurableFile::create(&self.file(), MAGIC, CONTENT_LEN).unwrap();
        Journal::open(&self.file()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.file()).unwrap()
    }
}

fn record(n: u64) -> Record {
    let mut id = [7; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    Record {
        made_at: 1_800_000_000_000 + n,
        id,
        horizon: n / 2,
    }
}

fn records(numbers: std::ops::Range<u64>) -> Vec<Record> {
    numbers.map(record).collect()
}

/// The content of a file after these writes, of which the last may have been torn.
fn parsed(bytes: &[u8]) -> Result<Vec<Record>> {
    parse(&bytes[HEADER_LEN..]).map(|content| content.records)
}

/// Only whoever changes the file writes such a record.
#[test]
fn a_record_with_a_number_that_no_daemon_reaches_is_not_valid() {
    for (number, is_valid) in [
        (0, false),
        (1, true),
        (u64::MAX - SLOTS, true),
        (u64::MAX - SLOTS + 1, false),
        (u64::MAX, false),
    ] {
        let bytes = record(1).to_bytes(number);
        assert_eq!(Record::from_bytes(&bytes).is_some(), is_valid, "{number}");
        let mut content = vec![0; CONTENT_LEN];
        content[place(number)..place(number) + RECORD_LEN].copy_from_slice(&bytes);
        // Neither panics.
        let _ = parse(&content);
    }
}

#[test]
fn what_was_written_is_read_again() {
    let folder = Folder::new();
    let (mut journal, found) = folder.open();
    assert_eq!(found, []);
    journal.append(&records(0..1)).unwrap();
    journal.append(&records(1..257)).unwrap();
    drop(journal);
    let (mut journal, found) = folder.open();
    assert_eq!(found, records(0..257));
    journal.append(&records(257..260)).unwrap();
    drop(journal);
    assert_eq!(folder.open().1, records(0..260));
    assert_eq!(folder.bytes().len(), HEADER_LEN + CONTENT_LEN);
}

#[test]
fn the_ring_overwrites_its_oldest_records() {
    let folder = Folder::new();
    let (mut journal, _) = folder.open();
    let all = records(0..SLOTS + 1000);
    for batch in all.chunks(MAX_BATCH) {
        journal.append(batch).unwrap();
    }
    drop(journal);
    let (mut journal, found) = folder.open();
    // Those that a torn write could have hit are not relied on.
    assert_eq!(found, records(1000 + MAX_BATCH as u64..SLOTS + 1000));
    journal
        .append(&records(SLOTS + 1000..SLOTS + 1001))
        .unwrap();
    drop(journal);
    assert_eq!(folder.open().1.last(), Some(&record(SLOTS + 1000)));
}

#[test]
fn a_write_that_is_torn_at_any_byte_leaves_the_records_before_it() {
    let folder = Folder::new();
    let (mut journal, _) = folder.open();
    journal.append(&records(0..5)).unwrap();
    let before = folder.bytes();
    journal.append(&records(5..8)).unwrap();
    let after = folder.bytes();
    let start = HEADER_LEN + 6 * RECORD_LEN;
    let end = start + 3 * RECORD_LEN;
    assert_ne!(before[start..end], after[start..end]);
    for torn in start..=end {
        // The first bytes were written, or the last ones.
        for (first, second) in [(&after, &before), (&before, &after)] {
            let bytes = [&first[..torn], &second[torn..]].concat();
            let found = parsed(&bytes).unwrap();
            // Whole records at the beginning are as good as committed ones.
            assert!((5..=8).contains(&found.len()), "{torn}: {}", found.len());
            assert_eq!(found, records(0..found.len() as u64));
        }
    }
}

#[test]
fn a_torn_write_is_erased_when_the_file_is_opened() {
    let folder = Folder::new();
    let (mut journal, _) = folder.open();
    journal.append(&records(0..5)).unwrap();
    journal.append(&records(5..8)).unwrap();
    drop(journal);
    let mut bytes = folder.bytes();
    // The first record of the last write is missing.
    bytes[HEADER_LEN + 6 * RECORD_LEN..][..RECORD_LEN].fill(0);
    fs::write(folder.file(), &bytes).unwrap();
    let (mut journal, found) = folder.open();
    assert_eq!(found, records(0..5));
    // The ones after it do not come back.
    journal.append(&records(100..101)).unwrap();
    drop(journal);
    let found = folder.open().1;
    assert_eq!(found[..5], records(0..5));
    assert_eq!(found[5..], [record(100)]);
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let (mut journal, _) = folder.open();
    for batch in records(0..2000).chunks(MAX_BATCH) {
        journal.append(batch).unwrap();
    }
    drop(journal);
    let whole = folder.bytes();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let place = |number: usize| HEADER_LEN + number * RECORD_LEN;
    for damaged in [
        Vec::new(),
        b"not a journal".to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], &[0]].concat(),
        flipped(0),
        flipped(HEADER_LEN - 1),
        flipped(place(1)),
        flipped(place(1000) + 20),
        // Before the last write, which may be of the records from 1745 on.
        flipped(place(2000 - MAX_BATCH) + 20),
        // Unused places, after those of a write that was torn.
        flipped(place(0)),
        flipped(place(2000 + MAX_BATCH + 1)),
        flipped(place(5000)),
    ] {
        fs::write(folder.file(), &damaged).unwrap();
        let error = Journal::open(&folder.file()).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        assert_eq!(folder.bytes(), damaged);
    }
    for (torn, left) in [
        (flipped(place(2001 - MAX_BATCH) + 20), 2000 - MAX_BATCH),
        (flipped(place(2000 + MAX_BATCH)), 2000),
    ] {
        fs::write(folder.file(), torn).unwrap();
        assert_eq!(Journal::open(&folder.file()).unwrap().1.len(), left);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Sectors of the last write reach the disk in any combination.
    #[test]
    fn any_sectors_of_the_last_write_may_be_missing(
        before in 0_u64..300,
        batch in 1_u64..=MAX_BATCH as u64,
        kept in prop::collection::vec(any::<bool>(), 64),
    ) {
        const SECTOR: usize = 512;

        let folder = Folder::new();
        let (mut journal, _) = folder.open();
        for batch in records(0..before).chunks(MAX_BATCH) {
            journal.append(batch).unwrap();
        }
        let old = folder.bytes();
        journal.append(&records(before..before + batch)).unwrap();
        drop(journal);
        let mut bytes = folder.bytes();
        let first = (HEADER_LEN + RECORD_LEN * usize::try_from(before).unwrap()) / SECTOR;
        for (sector, kept) in (first..).zip(kept) {
            if !kept {
                let sector = sector * SECTOR..(sector + 1) * SECTOR;
                bytes[sector.clone()].copy_from_slice(&old[sector]);
            }
        }
        fs::write(folder.file(), &bytes).unwrap();
        let (mut journal, found) = folder.open();
        let len = found.len() as u64;
        prop_assert!((before..=before + batch).contains(&len));
        prop_assert_eq!(found, records(0..len));
        journal.append(&records(len..len + 3)).unwrap();
        drop(journal);
        prop_assert_eq!(folder.open().1, records(0..len + 3));
    }
}
