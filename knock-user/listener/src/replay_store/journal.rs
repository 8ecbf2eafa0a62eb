//! The file of the replay store.
//!
//! ```text
//! byte  0 …             the magic text, padded with zeros to 4096 bytes
//!       4096 …          the records, 64 bytes each, a fixed number of them
//! ```
//!
//! The records form a ring: the one with sequence number `n`, which is at least 1, has the place
//! `n % SLOTS`. A place that was never used is zero. The file is written with zeros when it is
//! created, so that its blocks are allocated: a record then costs one write that is durable when it
//! returns (`O_DSYNC`), and a full disk does not prevent it.
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

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Result, bail, ensure};
use rustix::fs::OFlags;
use thiserror::Error;

const MAGIC: &[u8] = b"knockd replay store 2\n";

/// The place of the first record: a page, so that records are aligned to sectors.
const HEADER_LEN: usize = 4096;

const RECORD_LEN: usize = 64;

/// The most records in one write.
pub(crate) const MAX_BATCH: usize = 256;

/// The number of records. There are more than the store keeps: the place of a removed record is used
/// again only after many others were written, whose horizon covers it.
pub(super) const SLOTS: u64 = 66_560;

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

/// Another daemon uses the file.
#[derive(Clone, Copy, Debug, Error)]
#[error("another knockd uses it")]
pub(super) struct Taken;

/// The open file. Locked until it is dropped.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// The sequence number of the next record.
    next: u64,
}

impl Journal {
    /// Opens the file at `path`, and creates it and its directory if they do not exist. Returns the
    /// records, oldest first.
    ///
    /// # Errors
    ///
    /// Returns [`Taken`] if another daemon uses the file, and another error if it cannot be opened
    /// or is damaged. It is left unchanged then.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Record>)> {
        if !path.try_exists()? {
            create(path)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::DSYNC.bits().cast_signed())
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Taken.into()),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut bytes = Vec::with_capacity(FILE_LEN + 1);
        (&file).take(FILE_LEN as u64 + 1).read_to_end(&mut bytes)?;
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
fn write(file: &File, number: u64, bytes: &[u8]) -> io::Result<()> {
    let room = usize::try_from(SLOTS - number % SLOTS).unwrap_or(usize::MAX);
    let (first, second) = bytes.split_at(bytes.len().min(room.saturating_mul(RECORD_LEN)));
    file.write_all_at(first, place(number))?;
    if second.is_empty() {
        return Ok(());
    }
    file.write_all_at(second, place(0))
}

/// Overwrites what a torn write may have left in the places of this record and the following ones.
fn erase(file: &File, number: u64) -> io::Result<()> {
    write(file, number, &[0; MAX_BATCH * RECORD_LEN])
}

#[expect(clippy::cast_possible_truncation, reason = "it is below 2^23")]
const FILE_LEN: usize = HEADER_LEN + SLOTS as usize * RECORD_LEN;

/// The place of the record `number` in the file.
const fn place(number: u64) -> u64 {
    HEADER_LEN as u64 + number % SLOTS * RECORD_LEN as u64
}

/// Creates an empty journal under a temporary name and renames it when it is complete: a file
/// without all its blocks must not pass for a journal.
fn create(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let mut bytes = vec![0; FILE_LEN];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    let written = file.write_all_at(&bytes, 0).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Its blocks may be what another file needs.
        let _ = fs::remove_file(&new);
        return Err(error.into());
    }
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()?;
    Ok(())
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
        bytes.len() == FILE_LEN,
        "it is damaged: its length is not {FILE_LEN} bytes"
    );
    let (header, slots) = bytes.split_at(HEADER_LEN);
    ensure!(
        header.starts_with(MAGIC) && header[MAGIC.len()..].iter().all(|byte| *byte == 0),
        "it is damaged, or no replay store of this version"
    );
    let (slots, _) = slots.as_chunks::<RECORD_LEN>();
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

    /// The record with its sequence number; `None` if the checksum is wrong.
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
        (number > 0 && record.to_bytes(number) == *bytes).then_some((number, record))
    }
}

#[cfg(test)]
mod tests;
