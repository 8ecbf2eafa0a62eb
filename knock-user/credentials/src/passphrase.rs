//! Passphrases and passphrase files.

use std::{fmt, path::Path};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret_file::{self, SecretFileError};

/// The maximum size of a passphrase file. A longer file is probably the wrong file.
const MAX_LEN: usize = 4096;

/// A passphrase. Its bytes are used unchanged, wiped when dropped, and not shown by `Debug`.
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Why a passphrase cannot be read. No variant contains it.
#[derive(Debug, Error)]
pub enum PassphraseError {
    /// The file cannot be read, or is not safe.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// It is empty.
    #[error("it is empty: anyone could knock with an empty passphrase")]
    Empty,
}

impl Passphrase {
    /// Reads the passphrase from the file at `path`, without line ends at the end and without a byte
    /// order mark.
    ///
    /// # Errors
    ///
    /// Returns [`PassphraseError`] if the file cannot be read, is empty, is UTF-16 text, is longer
    /// than 4096 bytes or, on Unix, can be read or changed by group or others.
    pub fn from_file(path: &Path) -> Result<Self, PassphraseError> {
        Self::new(secret_file::read_text(path, MAX_LEN)?)
    }

    /// A passphrase from a prompt, without a newline.
    ///
    /// # Errors
    ///
    /// Returns [`PassphraseError::Empty`] if `text` is empty.
    pub fn typed(text: String) -> Result<Self, PassphraseError> {
        Self::new(Zeroizing::new(text.into_bytes()))
    }

    fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, PassphraseError> {
        if bytes.is_empty() {
            return Err(PassphraseError::Empty);
        }
        Ok(Self(bytes))
    }

    /// The bytes of the passphrase.
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
#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn read(content: &[u8]) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Passphrase::from_file(&path)
            .map(|passphrase| passphrase.as_bytes().to_vec())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn line_ends_and_a_byte_order_mark_are_not_part_of_it() {
        assert_eq!(read(b"open sesame\n").unwrap(), b"open sesame");
        assert_eq!(read(b"open sesame\r\n").unwrap(), b"open sesame");
        assert_eq!(read(b"open sesame\n\n").unwrap(), b"open sesame");
        assert_eq!(read(b"\xef\xbb\xbfopen sesame\n").unwrap(), b"open sesame");
        assert_eq!(read(b" \xff ").unwrap(), b" \xff ");
    }

    #[test]
    fn refuses_what_is_no_passphrase() {
        assert!(read(b"\n").unwrap_err().contains("empty"));
        assert!(read(b"\xff\xfeo\0p\0").unwrap_err().contains("UTF-16"));
        assert!(read(&[b'x'; 5000]).unwrap_err().contains("longer"));
        assert!(Passphrase::typed(String::new()).is_err());
    }

    #[test]
    fn debug_shows_nothing() {
        let passphrase = Passphrase::typed("open sesame".into()).unwrap();
        assert_eq!(format!("{passphrase:?}"), "Passphrase(..)");
    }
}
