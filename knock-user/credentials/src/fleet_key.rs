//! The key file of a fleet, which all of its nodes have.

use std::{fmt::Write as _, io, path::Path};

use knock_common::protocol::identity::{KEY_DIGITS, PrivateKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret_file::{self, SecretFileError};

/// The length of the key, in bytes.
pub const FLEET_KEY_LEN: usize = 32;

/// The beginning of the line, so that no other key is taken for it.
const PREFIX: &str = "knockd-fleet1:";

/// How much white space the file may contain besides the key.
const SPACE: usize = 64;

/// Why a key cannot be read. No variant contains it.
#[derive(Debug, Error)]
pub enum ReadFleetKeyError {
    /// The file cannot be read, or is not safe.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The file does not contain a key.
    #[error(
        "this is not the key of a fleet, which begins with {PREFIX} and has {KEY_DIGITS} characters more: `knockd fleet init` makes one"
    )]
    Key,
}

/// Reads the key from the file at `path`.
///
/// # Errors
///
/// Returns [`ReadFleetKeyError`] if the file cannot be read, contains no such key, or can be read or
/// changed by group or others.
pub fn read(path: &Path) -> Result<Zeroizing<[u8; FLEET_KEY_LEN]>, ReadFleetKeyError> {
    let text = secret_file::read_text(path, PREFIX.len() + KEY_DIGITS + SPACE)?;
    let digits = text.trim_ascii().strip_prefix(PREFIX.as_bytes());
    let digits = digits.ok_or(ReadFleetKeyError::Key)?;
    // The text form of 32 secret bytes is that of a private key, which is wiped.
    let key = PrivateKey::from_text(digits).map_err(|_| ReadFleetKeyError::Key)?;
    Ok(Zeroizing::new(*key.expose()))
}

/// Writes a random key to a new file at `path` that only the file's owner can access.
///
/// # Errors
///
/// Returns an error if the file exists or cannot be written, or if the system provides no random
/// numbers.
pub fn create(path: &Path) -> io::Result<()> {
    let key = PrivateKey::try_fill(|bytes| getrandom::fill(bytes)).map_err(io::Error::other)?;
    // Room for the whole text, because growing the string would leave part of the key in memory.
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + KEY_DIGITS));
    text.push_str(PREFIX);
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", key.text());
    secret_file::create(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_is_read_and_no_other_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.key");
        create(&path).unwrap();
        let key = read(&path).unwrap();
        assert!(create(&path).is_err());
        let other = folder.path().join("other.key");
        create(&other).unwrap();
        assert!(*read(&other).unwrap() != *key);
        for text in [
            "",
            "knock2:",
            "knockd-fleet1:",
            "knockd-fleet1:short secret",
        ] {
            let path = folder.path().join(format!("{}.key", text.len()));
            secret_file::create(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(
                error.contains("knockd fleet init") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
