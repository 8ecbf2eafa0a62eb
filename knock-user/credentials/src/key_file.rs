//! The key file of a sealed client (docs/protocol.md, "Sealed").

use std::{fmt::Write as _, io, path::Path};

use knock_common::protocol::key::{KEY_FILE_LEN, KeyFileError, SecretKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret_file::{self, SecretFileError};

/// Why a key cannot be read. No variant contains it.
#[derive(Debug, Error)]
pub enum ReadKeyError {
    /// The file cannot be read, or is not safe.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The file does not contain a key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// Reads the key from the file at `path`.
///
/// # Errors
///
/// Returns [`ReadKeyError`] if the file cannot be read, contains no key or, on Unix, can be read
/// or changed by group or others.
pub fn read(path: &Path) -> Result<SecretKey, ReadKeyError> {
    let text = secret_file::read(path, KEY_FILE_LEN + 1)?;
    Ok(SecretKey::from_key_file(&text)?)
}

/// Generates a random key.
///
/// # Errors
///
/// Returns an error if the system provides no random numbers.
pub fn generate() -> io::Result<SecretKey> {
    SecretKey::try_fill(|bytes| getrandom::fill(bytes)).map_err(io::Error::other)
}

/// Writes `key` to a new file at `path` that only its owner can access.
///
/// # Errors
///
/// Returns an error if the file exists or cannot be written.
pub fn create(path: &Path, key: &SecretKey) -> io::Result<()> {
    secret_file::create(path, &text(key))
}

/// The line of a key file. This text is the secret.
#[must_use]
pub fn text(key: &SecretKey) -> Zeroizing<String> {
    // Room for the whole text, because growing the string would leave part of the key in memory.
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
    fn an_invalid_key_is_reported_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("laptop.key");
        secret_file::create(&path, "knock1:secret").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("43") && !error.contains("secret"), "{error}");
    }
}
