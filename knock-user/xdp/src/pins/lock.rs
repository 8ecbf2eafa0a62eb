//! The lock of a pins' directory, which a knockd holds as long as it uses the pins.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// Attempts to lock a directory that others remove and create meanwhile.
const ATTEMPTS: usize = 10;

/// The outcome of [`lock`].
#[derive(Debug)]
pub(super) enum Locked {
    Ours(Lock),
    /// Another process holds the lock.
    Taken,
    /// There is no such directory.
    Missing,
}

/// A lock, which ends with this value or the process.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Closing does not unlock while a child process between fork(2) and execve(2) has a copy of the
    /// file descriptor.
    fn drop(&mut self) {
        // If this fails, the last copy unlocks when it is closed.
        let _ = self.0.unlock();
    }
}

/// Locks the directory `dir`.
///
/// # Errors
///
/// Returns an error if it cannot be opened or locked.
pub(super) fn lock(dir: &Path) -> io::Result<Locked> {
    for _ in 0..ATTEMPTS {
        let file = match File::open(dir) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Locked::Missing),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Locked::Taken),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let lock = Lock(file);
        // The lock of a directory that was removed meanwhile keeps nobody out.
        if inode(&lock.0.metadata()?) == fs::metadata(dir).ok().as_ref().and_then(inode) {
            return Ok(Locked::Ours(lock));
        }
    }
    Ok(Locked::Taken)
}

fn inode(metadata: &fs::Metadata) -> Option<(u64, u64)> {
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_until_the_lock_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let Locked::Ours(held) = lock(dir.path()).unwrap() else {
            panic!("nobody else has it");
        };
        assert!(matches!(lock(dir.path()).unwrap(), Locked::Taken));
        let _copy_of_a_child = held.0.try_clone().unwrap();
        drop(held);
        assert!(matches!(lock(dir.path()).unwrap(), Locked::Ours(_)));
        let missing = dir.path().join("missing");
        assert!(matches!(lock(&missing).unwrap(), Locked::Missing));
    }
}
