//! A file whose blocks are allocated when it is created, so that a write costs one round trip to the
//! disk: it is durable when it returns (`O_DSYNC`), and neither a full disk nor the length of the
//! file is involved.
//!
//! The file begins with a magic text, padded with zeros to [`HEADER_LEN`]. The content follows. A
//! sector (512 bytes) is written as a whole or not at all, as far as disks promise anything.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Result, bail, ensure};
use rustix::fs::OFlags;
use thiserror::Error;

/// The length of the header: a page, so that the content is aligned to sectors.
pub const HEADER_LEN: usize = 4096;

/// The longest content, in bytes. A longer file is not one of this program's and is refused.
pub const MAX_LEN: usize = 64 * 1024 * 1024;

/// Another daemon uses the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("another knockd uses it")]
pub struct Taken;

/// An open file. Locked until it is dropped.
#[derive(Debug)]
pub struct DurableFile(File);

impl Drop for DurableFile {
    /// Closing does not unlock the file while a child process between fork(2) and execve(2) has a
    /// copy of the file descriptor.
    fn drop(&mut self) {
        // If this fails, the file is unlocked when the last copy is closed.
        let _ = self.0.unlock();
    }
}

impl DurableFile {
    /// Creates the file at `path` with its directory, if it does not exist: it begins with `magic`,
    /// and its content is `len` zeros.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be created.
    pub fn create(path: &Path, magic: &[u8], len: usize) -> Result<()> {
        if path.try_exists()? {
            return Ok(());
        }
        create(path, magic, len)
    }

    /// Opens the file at `path`, which begins with `magic`, and returns its content.
    ///
    /// # Errors
    ///
    /// Returns [`Taken`] if another daemon uses the file, and another error if it cannot be opened or
    /// has another header.
    pub fn open(path: &Path, magic: &[u8]) -> Result<(Self, Vec<u8>)> {
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
        let locked = Self(file);
        let file = &locked.0;
        let mut header = [0; HEADER_LEN];
        if let Err(error) = file.read_exact_at(&mut header, 0) {
            bail!("it is damaged: {error}");
        }
        let (start, padding) = header.split_at(magic.len());
        ensure!(
            start == magic && padding.iter().all(|byte| *byte == 0),
            "it is damaged, or of another version"
        );
        // The position is still at the start.
        let mut content = Vec::new();
        let limit = (HEADER_LEN + MAX_LEN + 1) as u64;
        file.take(limit).read_to_end(&mut content)?;
        ensure!(content.len() <= HEADER_LEN + MAX_LEN, "it is too long");
        content.drain(..HEADER_LEN);
        Ok((locked, content))
    }

    /// Writes `bytes` to this place of the content. On return they are on disk.
    ///
    /// # Errors
    ///
    /// Returns an error if they cannot be written. A part of them may be on disk.
    pub fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, (HEADER_LEN + at) as u64)
    }
}

/// Creates the file under a temporary name and renames it when it is complete: a file without all
/// its blocks must not pass for a complete one.
fn create(path: &Path, magic: &[u8], len: usize) -> Result<()> {
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
    let mut bytes = vec![0; HEADER_LEN + len];
    bytes[..magic.len()].copy_from_slice(magic);
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const MAGIC: &[u8] = b"a test\n";

    /// Opens the file, and creates it with `len` zeros if it does not exist.
    fn open(path: &Path, len: usize) -> Result<(DurableFile, Vec<u8>)> {
        DurableFile::create(path, MAGIC, len)?;
        DurableFile::open(path, MAGIC)
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join("file");
        let (file, content) = open(&path, 8).unwrap();
        assert_eq!(content, [0; 8]);
        file.write(3, b"abc").unwrap();
        drop(file);
        let (file, content) = open(&path, 8).unwrap();
        assert_eq!(content, b"\0\0\0abc\0\0");
        // Beyond the end it grows.
        file.write(8, b"d").unwrap();
        drop(file);
        let (_, content) = open(&path, 8).unwrap();
        assert_eq!(content, b"\0\0\0abc\0\0d");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[test]
    fn a_file_has_one_user() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let _file = open(&path, 0).unwrap();
        let error = DurableFile::open(&path, MAGIC).unwrap_err();
        assert!(error.is::<Taken>(), "{error:#}");
    }

    #[test]
    fn a_copy_of_its_descriptor_does_not_keep_it_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (file, _) = open(&path, 0).unwrap();
        let _copy_of_a_child = file.0.try_clone().unwrap();
        drop(file);
        open(&path, 0).unwrap();
    }

    #[test]
    fn a_damaged_file_does_not_stay_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "not a test").unwrap();
        for _ in 0..2 {
            let error = DurableFile::open(&path, MAGIC).unwrap_err();
            assert!(!error.is::<Taken>(), "{error:#}");
        }
    }

    #[test]
    fn another_file_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut other_padding = vec![0; HEADER_LEN];
        other_padding[..MAGIC.len()].copy_from_slice(MAGIC);
        other_padding[100] = 1;
        for content in [&b""[..], b"a test\n", b"not a test", &other_padding] {
            fs::write(&path, content).unwrap();
            let error = open(&path, 8).unwrap_err();
            assert!(error.to_string().contains("damaged"), "{error:#}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn an_unfinished_new_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(path.with_extension("new"), "unfinished").unwrap();
        assert_eq!(open(&path, 2).unwrap().1, [0; 2]);
        assert!(!path.with_extension("new").exists());
    }
}
