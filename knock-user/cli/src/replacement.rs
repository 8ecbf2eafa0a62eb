//! The replacement of a configuration file, at once or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use knockd_config::NEW_EXTENSION;
use knockd_runtime::log::legible;
use tracing::warn;

use crate::new_file::{self, NewFile};

/// How often it is tried to be the one who changes a file. Each attempt fails only because another
/// process begins or ends a change in that moment.
const ATTEMPTS: u32 = 100;

/// The new content of a file, beside it. It is locked (flock(2)), so that nobody else can change the
/// file by these commands meanwhile. Dropping it leaves the file as it is.
#[derive(Debug)]
pub(crate) struct Replacement {
    path: PathBuf,
    // Dropped, and thereby removed, before the lock is given up.
    new: NewFile,
    file: File,
}

impl Replacement {
    /// Begins to replace the file at `path`. The replacement has the same owner and mode. What a
    /// command has left that was killed is removed.
    ///
    /// # Errors
    ///
    /// Returns an error if another change is in progress, or if nothing can be written beside the file.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        // A symbolic link stays one.
        let path = fs::canonicalize(path).with_context(|| path.display().to_string())?;
        let old = fs::metadata(&path)?;
        let new = beside(&path);
        let file = claim(&new, old.mode() & 0o7777)?;
        let new = NewFile::at(new);
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
        Ok(Self { path, new, file })
    }

    /// Writes the new content.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be written.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        new_file::write_synced(&self.file, text)
            .with_context(|| self.new.path().display().to_string())
    }

    /// Puts the new content in the place of the old.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be replaced. It is unchanged then.
    pub(crate) fn complete(self) -> Result<()> {
        fs::rename(self.new.path(), &self.path).with_context(|| self.path.display().to_string())?;
        self.new.keep();
        if let Some(folder) = self.path.parent() {
            // The file is replaced already: an error here must not look as if it were not.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

/// The path of the new content of the file at `path`.
fn beside(path: &Path) -> PathBuf {
    let mut new = OsString::from(path);
    new.push(".");
    new.push(NEW_EXTENSION);
    new.into()
}

/// Creates and locks the file at `new`. A file that is there and that no process has locked belongs to
/// a command that was killed: it is removed.
///
/// # Errors
///
/// Returns an error if a process has locked the file, or if it cannot be created.
fn claim(new: &Path, mode: u32) -> Result<File> {
    let shown = || new.display().to_string();
    for _ in 0..ATTEMPTS {
        match new_file::create(new, mode) {
            // Another process may have removed it before it was locked.
            Ok(file) if is_locked_now(&file, new).with_context(shown)? => return Ok(file),
            Ok(_) => continue,
            Err(error) if is(&error, io::ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW);
        let left = match options.open(new) {
            Ok(left) => left,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(shown),
        };
        match left.try_lock() {
            Ok(()) if is_at(&left, new).with_context(shown)? => {
                warn!(
                    "removing {}, left by a command that was killed",
                    legible(&shown())
                );
                fs::remove_file(new).with_context(shown)?;
            }
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "{}: {} is changing the configuration: wait until it has ended",
                shown(),
                holder(&left)
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(shown),
        }
    }
    bail!(
        "{}: other commands change the configuration all the time",
        shown()
    )
}

fn is(error: &anyhow::Error, kind: io::ErrorKind) -> bool {
    error.downcast_ref().map(io::Error::kind) == Some(kind)
}

/// Locks the new `file`. Returns whether it is still the one at `path`.
fn is_locked_now(file: &File, path: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => is_at(file, path),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether `file` is the one at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let file = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (file.dev(), file.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The process that has locked `file`, in words.
fn holder(file: &File) -> String {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = file.metadata().map(|file| file.ino()).unwrap_or_default();
    let Some(process) = process_of(&locks, inode) else {
        return "another process".into();
    };
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    format!("process {process} ({})", legible(name.trim_end()))
}

/// The process that has a lock of flock(2) on the file with this number, according to the text of
/// `/proc/locks`. The number of the file system is left out: stat(2) and that text do not agree about
/// it on every file system.
fn process_of(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let [_, "FLOCK", _, _, process, file, ..] = line.split_whitespace().collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let (_, number) = file.rsplit_once(':')?;
        (number.parse() == Ok(inode)).then(|| process.parse().ok())?
    })
}

#[cfg(test)]
mod tests;
