//! The files of the history of accepted knocks: a current one, and the one before it.
//!
//! A file has one record on each line, as JSON. Nothing depends on the history, so a write need not
//! reach the disk, and a damaged line is skipped. What is appended begins a line of its own, also
//! after a write that was torn.

use std::{
    fs::{DirBuilder, File, rename},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _},
    path::Path,
};

use knockd_types::history::{Knock, Record, knocks};
use rustix::fs::{Mode, OFlags, open};

/// The current file, in `state_dir`.
pub const FILE: &str = "history";

/// The file before it.
pub const OLD_FILE: &str = "history.1";

/// The most bytes that an accepted knock takes, with its end: names of 64 bytes, each of which is
/// escaped, and IPv6 addresses.
pub const KNOCK_LEN: u64 = 1024;

/// The most knocks of a file.
pub const MAX_KNOCKS: u32 = 100_000;

/// The longest line.
const MAX_LINE: u64 = KNOCK_LEN;

/// How often reading begins again because the files were exchanged meanwhile.
const ATTEMPTS: u32 = 3;

const FLAGS: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    // Not waiting for the other end of a pipe.
    .union(OFlags::NONBLOCK);

/// Appends `lines`, which end with a newline, to the current file in `state_dir`, which is created
/// if necessary. If the file would be longer than `max_len` bytes, it first becomes the old one.
///
/// # Errors
///
/// Returns an error if they cannot be written. A part of them may be in the file.
pub fn append(state_dir: &Path, lines: &[u8], max_len: u64) -> io::Result<()> {
    let (mut file, mut len) = open_to_append(state_dir)?;
    if len > 0 && len.saturating_add(lines.len() as u64) > max_len {
        rename(state_dir.join(FILE), state_dir.join(OLD_FILE))?;
        (file, len) = open_to_append(state_dir)?;
    }
    let mut last = [b'\n'];
    if len > 0 {
        file.read_exact_at(&mut last, len - 1)?;
    }
    if last == [b'\n'] {
        file.write_all(lines)
    } else {
        file.write_all(&[b"\n", lines].concat())
    }
}

/// The current file and its length.
fn open_to_append(state_dir: &Path) -> io::Result<(File, u64)> {
    let path = state_dir.join(FILE);
    let flags = FLAGS | OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
    let open = || open(&path, flags, Mode::from(0o600));
    let opened = match open() {
        Err(rustix::io::Errno::NOENT) => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(state_dir)?;
            open()
        }
        opened => opened,
    };
    let file = File::from(opened?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    Ok((file, metadata.len()))
}

/// The knocks in the files in `state_dir`, the oldest first. There are none without files. Also
/// while a daemon writes.
///
/// # Errors
///
/// Returns an error if a file cannot be read.
pub fn read(state_dir: &Path) -> io::Result<Vec<Knock>> {
    for _ in 0..ATTEMPTS {
        // In this order, so that no record is missed if one becomes the other meanwhile.
        let current = open_to_read(&state_dir.join(FILE))?;
        let old = open_to_read(&state_dir.join(OLD_FILE))?;
        if let (Some(current), Some(old)) = (&current, &old)
            && is_same(current, old)?
        {
            continue;
        }
        let mut records = Vec::new();
        for file in [old, current].into_iter().flatten() {
            read_records(file, &mut records)?;
        }
        return Ok(knocks(records));
    }
    Err(io::Error::other("the files are exchanged all the time"))
}

fn open_to_read(path: &Path) -> io::Result<Option<File>> {
    match open(path, FLAGS | OFlags::RDONLY, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Adds the records of `file` to `records`, without the lines that are none.
///
/// The first line without its end is the last one that is read. The kernel adds a record that
/// crosses a page of the file in two parts. If reading went on after the first part, the rest of
/// the record would be a line of its own, and the records after it would seem to follow a gap.
fn read_records(file: impl io::Read, records: &mut Vec<Record>) -> io::Result<()> {
    let limit = (u64::from(MAX_KNOCKS) + 1) * KNOCK_LEN;
    let mut reader = BufReader::new(file.take(limit));
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(());
        }
        // Also the parts of a line that is too long.
        if let Ok(record) = serde_json::from_slice(&line) {
            records.push(record);
        }
        let is_too_long = line.len() as u64 == MAX_LINE;
        if !line.ends_with(b"\n") && !is_too_long {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
