//! A passphrase, and the file that it is kept in.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use thiserror::Error;
use zeroize::Zeroizing;

/// What a passphrase file may hold. Longer is a mistake: some other file was named.
const MAX_LEN: usize = 4096;

/// A passphrase: its bytes as they are, wiped when dropped and absent from `Debug`.
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Why a passphrase file is no good. None of these shows what is in it.
#[derive(Debug, Error)]
pub enum PassphraseError {
    /// It cannot be opened or read.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    /// Others than its owner could read or change it.
    #[error(
        "group or others can read or change it (mode {0:04o}): chmod 600 it, and change the passphrase if somebody may have seen it"
    )]
    Exposed(u32),
    /// Nothing stands in it.
    #[error("it is empty: anybody could knock with an empty passphrase")]
    Empty,
    /// More than a passphrase stands in it.
    #[error("it is longer than {MAX_LEN} bytes: is it the right file?")]
    TooLong,
}

impl Passphrase {
    /// Reads a passphrase from the file at `path`, without the newline at its end.
    ///
    /// # Errors
    ///
    /// [`PassphraseError`] if the file cannot be read, is empty, is longer than 4096 bytes
    /// or, on Unix, can be read or changed by group or others.
    pub fn from_file(path: &Path) -> Result<Self, PassphraseError> {
        let file = File::open(path).map_err(PassphraseError::Io)?;
        refuse_exposed(&file)?;
        // One allocation, so that no copy stays behind unwiped.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN + 3));
        file.take(MAX_LEN as u64 + 3)
            .read_to_end(&mut bytes)
            .map_err(PassphraseError::Io)?;
        let len = bytes
            .strip_suffix(b"\r\n")
            .or_else(|| bytes.strip_suffix(b"\n"))
            .map_or(bytes.len(), <[u8]>::len);
        bytes.truncate(len);
        match len {
            0 => Err(PassphraseError::Empty),
            1..=MAX_LEN => Ok(Self(bytes)),
            _ => Err(PassphraseError::TooLong),
        }
    }

    /// A passphrase that somebody typed, without a newline.
    ///
    /// # Errors
    ///
    /// [`PassphraseError::Empty`] if nothing was typed.
    pub fn typed(text: String) -> Result<Self, PassphraseError> {
        let bytes = Zeroizing::new(text.into_bytes());
        if bytes.is_empty() {
            return Err(PassphraseError::Empty);
        }
        Ok(Self(bytes))
    }

    /// The passphrase's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

#[cfg(unix)]
fn refuse_exposed(file: &File) -> Result<(), PassphraseError> {
    use std::os::unix::fs::MetadataExt as _;

    let mode = file.metadata().map_err(PassphraseError::Io)?.mode() & 0o7777;
    if mode & 0o066 == 0 {
        Ok(())
    } else {
        Err(PassphraseError::Exposed(mode))
    }
}

/// Elsewhere a user's files are his own by inherited access lists, which this does not read.
#[cfg(not(unix))]
fn refuse_exposed(_file: &File) -> Result<(), PassphraseError> {
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    fn read(content: &[u8], mode: u32) -> Result<Vec<u8>, String> {
        let (_folder, path) = file(content, mode);
        Passphrase::from_file(&path)
            .map(|passphrase| passphrase.as_bytes().to_vec())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn one_newline_is_not_part_of_it() {
        assert_eq!(read(b"open sesame\n", 0o600).unwrap(), b"open sesame");
        assert_eq!(read(b"open sesame\r\n", 0o600).unwrap(), b"open sesame");
        assert_eq!(read(b"open sesame\n\n", 0o600).unwrap(), b"open sesame\n");
        assert_eq!(read(b" \xff ", 0o400).unwrap(), b" \xff ");
        assert_eq!(read(&[b'x'; MAX_LEN], 0o600).unwrap(), [b'x'; MAX_LEN]);
    }

    #[test]
    fn refuses_what_is_no_secret() {
        for mode in [0o640, 0o620, 0o604, 0o602, 0o644] {
            let error = read(b"open sesame", mode).unwrap_err();
            assert!(error.contains(&format!("{mode:04o}")), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
        assert!(read(b"\n", 0o600).unwrap_err().contains("empty"));
        assert!(read(&[b'x'; 5000], 0o600).unwrap_err().contains("longer"));
        assert!(Passphrase::typed(String::new()).is_err());
    }

    #[test]
    fn debug_shows_nothing() {
        let passphrase = Passphrase::typed("open sesame".into()).unwrap();
        assert_eq!(format!("{passphrase:?}"), "Passphrase(..)");
    }
}
