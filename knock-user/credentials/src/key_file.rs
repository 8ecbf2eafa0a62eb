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

/// How much white space a key file may contain besides the key.
const SPACE: usize = 64;

/// Reads the key of an `owner` from the file at `path`.
///
/// # Errors
///
/// Returns [`ReadKeyError`] if the file cannot be read, contains no such key or, on Unix, can be
/// read or changed by group or others.
pub fn read(owner: Owner, path: &Path) -> Result<PrivateKey, ReadKeyError> {
    let text = secret_file::read_text(path, owner.line_len() + SPACE)?;
    Ok(PrivateKey::from_key_file(owner, text.trim_ascii())?)
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

    #[cfg(unix)]
    #[test]
    fn a_file_that_went_through_an_editor_is_the_same_key() {
        use std::{fs, os::unix::fs::PermissionsExt as _};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("laptop.key");
        let key = generate().unwrap();
        let line = text(&key.key_file_text(Owner::Client), Owner::Client.line_len());
        let read_with = |before: &str, after: &str| {
            fs::write(&path, format!("{before}{}{after}", *line)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            read(Owner::Client, &path)
        };
        for (before, after) in [
            ("", ""),
            ("", "\r\n"),
            ("", "\n\n"),
            ("\u{feff}", "\r\n"),
            ("\n ", " \t\n"),
        ] {
            assert!(
                read_with(before, after).unwrap() == key,
                "{before:?} {after:?}"
            );
        }
        for (before, after) in [("x", ""), ("", "x"), ("", "\nx\n"), ("", &" ".repeat(99))] {
            assert!(read_with(before, after).is_err(), "{before:?} {after:?}");
        }
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
