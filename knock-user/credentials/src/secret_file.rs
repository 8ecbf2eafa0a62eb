//! Files that hold a secret: read only if nobody else can, written so that nobody else can.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
};

use thiserror::Error;
use zeroize::Zeroizing;

/// Why a secret's file is no good. None of these shows what is in it.
#[derive(Debug, Error)]
pub enum SecretFileError {
    /// It cannot be opened or read.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    /// Others than its owner could read or change it.
    #[error(
        "group or others can read or change it (mode {0:04o}): chmod 600 it, and change the secret if somebody may have seen it"
    )]
    Exposed(u32),
    /// It holds more than the secret that was looked for.
    #[error("it is longer than {0} bytes: is it the right file?")]
    TooLong(usize),
}

/// What the file at `path` holds: at most `max_len` bytes.
///
/// # Errors
///
/// [`SecretFileError`] if it cannot be read, is longer or, on Unix, can be read or changed
/// by group or others.
pub fn read(path: &Path, max_len: usize) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let file = File::open(path).map_err(SecretFileError::Io)?;
    refuse_exposed(&file)?;
    // One allocation, so that no copy stays behind unwiped. `read_to_end` asks for a little
    // more than the file holds before it sees the end.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max_len + 64));
    file.take(max_len as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(SecretFileError::Io)?;
    if bytes.len() > max_len {
        return Err(SecretFileError::TooLong(max_len));
    }
    Ok(bytes)
}

/// Writes `line` and a newline to a new file at `path`, for its owner alone and synced.
///
/// # Errors
///
/// The file is there already, or cannot be written.
pub fn create(path: &Path, line: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(line.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(unix)]
fn refuse_exposed(file: &File) -> Result<(), SecretFileError> {
    use std::os::unix::fs::MetadataExt as _;

    let mode = file.metadata().map_err(SecretFileError::Io)?.mode() & 0o7777;
    if mode & 0o066 == 0 {
        Ok(())
    } else {
        Err(SecretFileError::Exposed(mode))
    }
}

/// Elsewhere a user's files are his own by inherited access lists, which this does not read.
#[cfg(not(unix))]
fn refuse_exposed(_file: &File) -> Result<(), SecretFileError> {
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn what_is_created_is_read_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        create(&path, "open sesame").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(**read(&path, 12).unwrap(), *b"open sesame\n");
        let again = create(&path, "other").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert!(matches!(read(&path, 11), Err(SecretFileError::TooLong(11))));
    }

    #[test]
    fn what_others_can_read_or_change_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        create(&path, "open sesame").unwrap();
        for mode in [0o640, 0o620, 0o604, 0o602, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path, 100).unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:04o}")), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
        assert!(read(&folder.path().join("nowhere"), 100).is_err());
    }
}
