//! The key files of clients and servers (docs/protocol.md, "Identities").

use std::{fmt::Write as _, io, path::Path};

use knock_common::protocol::identity::{KEY_DIGITS, KeyFileError, KeyFileText, Owner, PrivateKey};
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

/// Reads the key of an `owner` from the file at `path`.
///
/// # Errors
///
/// Returns [`ReadKeyError`] if the file cannot be read, contains no such key or, on Unix, can be
/// read or changed by group or others.
pub fn read(owner: Owner, path: &Path) -> Result<PrivateKey, ReadKeyError> {
    let text = secret_file::read(path, owner.line_len() + 1)?;
    Ok(PrivateKey::from_key_file(owner, &text)?)
}

/// Generates a random key.
///
/// # Errors
///
/// Returns an error if the system provides no random numbers.
pub fn generate() -> io::Result<PrivateKey> {
    PrivateKey::try_fill(|bytes| getrandom::fill(bytes)).map_err(io::Error::other)
}

/// Writes the `key` of an `owner` to a new file at `path` that only the file's owner can access.
///
/// # Errors
///
/// Returns an error if the file exists or cannot be written.
pub fn create(owner: Owner, path: &Path, key: &PrivateKey) -> io::Result<()> {
    secret_file::create(path, &text(&key.key_file_text(owner), owner.line_len()))
}

/// The 43 characters of a key. This text is the secret.
#[must_use]
pub fn digits(key: &PrivateKey) -> Zeroizing<String> {
    text(&key.text(), KEY_DIGITS)
}

fn text(key: &KeyFileText<'_>, len: usize) -> Zeroizing<String> {
    // Room for the whole text, because growing the string would leave part of the key in memory.
    let mut text = Zeroizing::new(String::with_capacity(len));
    // Writing to a string cannot fail.
    let _ = write!(text, "{key}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        for owner in [Owner::Client, Owner::Server] {
            let path = folder.path().join(format!("{owner}.key"));
            let key = generate().unwrap();
            create(owner, &path, &key).unwrap();
            assert!(read(owner, &path).unwrap() == key);
            assert!(generate().unwrap() != key);
        }
        let path = folder.path().join("client.key");
        let error = read(Owner::Server, &path).unwrap_err().to_string();
        assert!(error.contains("this is a client's key"), "{error}");
    }

    #[test]
    fn an_invalid_key_is_reported_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("laptop.key");
        secret_file::create(&path, "knock2:secret").unwrap();
        let error = read(Owner::Client, &path).unwrap_err().to_string();
        assert!(error.contains("43") && !error.contains("secret"), "{error}");
    }
}
