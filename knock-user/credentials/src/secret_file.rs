//! Secret files: read only if no other user can access them, and created the same way.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::access::{self, MAKE_PRIVATE};

/// The byte order marks of UTF-8 and UTF-16.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Why a secret file cannot be used. No variant contains its content.
#[derive(Debug, Error)]
pub enum SecretFileError {
    /// It cannot be opened or read.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    /// Users other than its owner can read or change it.
    #[error(
        "others can read or change it ({0}): use {MAKE_PRIVATE}, and replace the secret if another user may have seen it"
    )]
    Exposed(String),
    /// It is text in another encoding, as Windows programs write it.
    #[error(
        "it is UTF-16 text: save it as UTF-8 or ASCII, in PowerShell with `Set-Content -Encoding ascii`"
    )]
    Utf16,
    /// It is longer than the expected secret.
    #[error("it is longer than {0} bytes: is it the right file?")]
    TooLong(usize),
}

/// Reads the file at `path`, which may contain at most `max_len` bytes.
///
/// # Errors
///
/// Returns [`SecretFileError`] if it cannot be read, is longer, or can be read or changed by others.
pub fn read(path: &Path, max_len: usize) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let file = File::open(path).map_err(SecretFileError::Io)?;
    refuse_exposed(&file)?;
    // One allocation, because growing it would leave copies of the secret. `read_to_end` needs
    // some space after the last byte to detect the end.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max_len + 64));
    file.take(max_len as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(SecretFileError::Io)?;
    if bytes.len() > max_len {
        return Err(SecretFileError::TooLong(max_len));
    }
    Ok(bytes)
}

/// Reads the file at `path` like [`read`], without what an editor may have added: a byte order mark at
/// the start, and line ends at the end. Neither can be part of a secret that a person types.
///
/// # Errors
///
/// Returns the errors of [`read`], and [`SecretFileError::Utf16`].
pub fn read_text(path: &Path, max_len: usize) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let mut bytes = read(path, max_len)?;
    if UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(SecretFileError::Utf16);
    }
    let text = bytes.strip_prefix(UTF8_MARK).unwrap_or(&bytes);
    let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let len = text.len()
        - text
            .iter()
            .rev()
            .take_while(|byte| is_line_end(byte))
            .count();
    let start = bytes.len() - text.len();
    // In place: a copy would have to be wiped too. What is left over is wiped with the vector.
    bytes.copy_within(start..start + len, 0);
    bytes.truncate(len);
    Ok(bytes)
}

/// Writes `line` and a newline to a new file at `path` that only its owner can access, and syncs
/// it.
///
/// # Errors
///
/// Returns an error if the file exists or cannot be written.
pub fn create(path: &Path, line: &str) -> io::Result<()> {
    let mut file = access::create_private(path)?;
    file.write_all(line.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn refuse_exposed(file: &File) -> Result<(), SecretFileError> {
    let others = access::of_others(file).map_err(SecretFileError::Io)?;
    if others.read || others.write {
        return Err(SecretFileError::Exposed(others.source));
    }
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_created_file_is_readable_and_never_overwritten() {
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
    fn what_an_editor_adds_is_no_part_of_a_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let text = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            read_text(&path, 20).map(|text| String::from_utf8(text.to_vec()).unwrap())
        };
        for content in [
            &b"a b"[..],
            b"a b\n",
            b"a b\r\n",
            b"a b\n\n\r\n",
            b"\xef\xbb\xbfa b\r\n",
        ] {
            assert_eq!(text(content).unwrap(), "a b", "{content:?}");
        }
        assert_eq!(text(b" a\nb \n").unwrap(), " a\nb ");
        for content in [&b"\xff\xfea\0\n\0"[..], b"\xfe\xff\0a\0\n"] {
            let error = text(content).unwrap_err();
            assert!(error.to_string().contains("UTF-16"), "{error}");
        }
        for empty in [&b""[..], b"\n\n", b"\xef\xbb\xbf\r\n"] {
            assert_eq!(text(empty).unwrap(), "");
        }
    }

    #[test]
    fn a_file_that_others_can_read_or_change_is_refused() {
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
