//! The file that a sealed client's key is kept in (README.md, "Sealed").

use std::{fmt::Write as _, io, path::Path};

use knock_common::protocol::key::{KEY_FILE_LEN, KeyFileError, SecretKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret_file::{self, SecretFileError};

/// Why there is no key. None of these shows it.
#[derive(Debug, Error)]
pub enum ReadKeyError {
    /// Its file is no good.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The file holds something else.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// Reads the key in the file at `path`.
///
/// # Errors
///
/// [`ReadKeyError`] if the file cannot be read, holds no key or, on Unix, can be read or
/// changed by group or others.
pub fn read(path: &Path) -> Result<SecretKey, ReadKeyError> {
    let text = secret_file::read(path, KEY_FILE_LEN + 1)?;
    Ok(SecretKey::from_key_file(&text)?)
}

/// A new random key.
///
/// # Errors
///
/// The system has no random numbers.
pub fn generate() -> io::Result<SecretKey> {
    SecretKey::try_fill(|bytes| getrandom::fill(bytes)).map_err(io::Error::other)
}

/// Writes `key` to a new file at `path`, for its owner alone.
///
/// # Errors
///
/// The file is there already, or cannot be written.
pub fn create(path: &Path, key: &SecretKey) -> io::Result<()> {
    secret_file::create(path, &text(key))
}

/// The line that a key file holds. It is the secret itself.
#[must_use]
pub fn text(key: &SecretKey) -> Zeroizing<String> {
    // Room for all of it, so that no part stays behind in an allocation that was too small.
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_LEN));
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", key.key_file_text());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("laptop.key");
        let key = generate().unwrap();
        create(&path, &key).unwrap();
        assert!(read(&path).unwrap() == key);
        assert!(generate().unwrap() != key);
    }

    #[test]
    fn what_is_no_key_is_said_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("laptop.key");
        secret_file::create(&path, "knock1:secret").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("43") && !error.contains("secret"), "{error}");
    }
}
