//! The file of the replay store.
//!
//! A [`DurableFile`] with a fixed number of records of 64 bytes. They form a ring: the one with
//! sequence number `n`, which is at least 1, has the place `n % SLOTS`. A place that was never used is
//! zero.
//!
//! ```text
//! byte  0..8     sequence number
//!       8..16    timestamp of the knock, in Unix milliseconds
//!       16..32   identity of the knock
//!       32..40   the horizon when the record was written
//!       40..60   zero
//!       60..64   CRC-32 of the bytes before
//! ```
//!
//! Little-endian. A record does not cross a sector. After a crash, the records of the last write may
//! be missing or torn, in any combination; none of their knocks had an effect, so they are ignored. A
//! record that is missing anywhere else means that the file is damaged.

pub(crate) mod fuzz;

use std::{collections::HashSet, io, path::Path};

use anyhow::{Result, bail, ensure};
use knockd_runtime::durable::DurableFile;
use knockd_types::replay_file::{CONTENT_LEN, MAGIC, RECORD_LEN, RECORDS};

/// The most records in one write.
pub(crate) const MAX_BATCH: usize = 256;

/// The number of records.
pub(super) const SLOTS: u64 = RECORDS as u64;

/// A knock that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The timestamp of the knock, in Unix milliseconds.
    pub(super) made_at: u64,
    /// The identity of the knock.
    pub(super) id: [u8; 16],
    /// The newest timestamp of the removed knocks.
    pub(super) horizon: u64,
}

/// The open file. Locked until it is dropped.
#[derive(Debug)]
pub(super) struct Journal {
    file: DurableFile,
    /// The sequence number of the next record.
    next: u64,
}

impl Journal {
    /// Opens the file at `path`, which the supervisor has created. Returns the records, oldest first.
    ///
    /// # Errors
    ///
    /// Returns [`Taken`](knockd_runtime::durable::Taken) if another daemon uses the file, and another
    /// error if it cannot be opened or is damaged. It is left unchanged then.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Record>)> {
        let (file, bytes) = DurableFile::open(path, MAGIC)?;
        let Content {
            records,
            next,
            is_torn,
        } = parse(&bytes)?;
        if is_torn {
            // Or a later record would complete a write that had no effect.
            erase(&file, next)?;
        }
        Ok((Self { file, next }, records))
    }

    /// Writes `records`, at most [`MAX_BATCH`], durably.
    ///
    /// # Errors
    ///
    /// Returns an error if they cannot be written. Then some of them may be in the file, and it has
    /// to be opened again.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        debug_assert!(records.len() <= MAX_BATCH);
        let mut bytes = Vec::with_capacity(records.len() * RECORD_LEN);
        for (number, record) in (self.next..).zip(records) {
            bytes.extend(record.to_bytes(number));
        }
        write(&self.file, self.next, &bytes)?;
        self.next += records.len() as u64;
        Ok(())
    }
}

/// Writes the records in `bytes`, of which the first has this number: up to the end of the ring, and
/// the rest to its start.
fn write(file: &DurableFile, number: u64, bytes: &[u8]) -> io::Result<()> {
    let room = usize::try_from(SLOTS - number % SLOTS).unwrap_or(usize::MAX);
    let (first, second) = bytes.split_at(bytes.len().min(room.saturating_mul(RECORD_LEN)));
    file.write(place(number), first)?;
    if second.is_empty() {
        return Ok(());
    }
    file.write(place(0), second)
}

/// Overwrites what a torn write may have left in the places of this record and the following ones.
fn erase(file: &DurableFile, number: u64) -> io::Result<()> {
    write(file, number, &[0; MAX_BATCH * RECORD_LEN])
}

/// The place of the record `number` in the content of the file.
const fn place(number: u64) -> usize {
    (number % SLOTS) as usize * RECORD_LEN
}

/// The content of the file.
struct Content {
    /// The records, oldest first.
    records: Vec<Record>,
    /// The sequence number of the next record.
    next: u64,
    /// Whether the last write may have been torn.
    is_torn: bool,
}

fn parse(bytes: &[u8]) -> Result<Content> {
    ensure!(
        bytes.len() == CONTENT_LEN,
        "it is damaged: it does not have {SLOTS} records"
    );
    let (slots, _) = bytes.as_chunks::<RECORD_LEN>();
    let mut found: Vec<_> = (0..)
        .zip(slots)
        .filter_map(|(slot, bytes)| Some((slot, Record::from_bytes(bytes)?)))
        .filter(|(slot, (number, _))| number % SLOTS == *slot)
        .map(|(_, numbered)| numbered)
        .collect();
    found.sort_unstable_by_key(|(number, _)| *number);
    let last = found.last().map_or(0, |(number, _)| *number);
    let batch = MAX_BATCH as u64;
    // The last write may have torn the places of the oldest records.
    let oldest = (last + batch).saturating_sub(SLOTS) + 1;
    found.retain(|(number, _)| *number >= oldest);
    let numbers: HashSet<_> = found.iter().map(|(number, _)| *number).collect();
    let missing = (oldest..=last).find(|number| !numbers.contains(number));
    let next = match missing {
        None => last + 1,
        Some(number) if last - number < batch => number,
        Some(number) => bail!("it is damaged: its record {number} is not valid"),
    };
    found.retain(|(number, _)| *number < next);
    let is_used = |number: u64| {
        let slot = usize::try_from(number % SLOTS).unwrap_or_default();
        slots[slot] != [0; RECORD_LEN]
    };
    // Until the ring is full.
    if let Some(number) = (last + batch + 1..=SLOTS).find(|number| is_used(*number)) {
        bail!("it is damaged: the place of record {number} is in use, but {last} is the last one");
    }
    let is_full = last + batch >= SLOTS;
    Ok(Content {
        records: found.into_iter().map(|(_, record)| record).collect(),
        next,
        is_torn: next <= last || !is_full && (next..next + batch).any(is_used),
    })
}

impl Record {
    fn to_bytes(self, number: u64) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.made_at.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.id);
        bytes[32..40].copy_from_slice(&self.horizon.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The record with its sequence number; `None` if the checksum or the number is not valid.
    fn from_bytes(bytes: &[u8; RECORD_LEN]) -> Option<(u64, Self)> {
        let word = |at: usize| {
            let word = bytes.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(word))
        };
        let number = word(0)?;
        let record = Self {
            made_at: word(8)?,
            id: bytes.get(16..32)?.try_into().ok()?,
            horizon: word(32)?,
        };
        // A number that no daemon reaches would overflow in what follows it.
        ((1..=u64::MAX - SLOTS).contains(&number) && record.to_bytes(number) == *bytes)
            .then_some((number, record))
    }
}

#[cfg(test)]
mod tests;
