//! Files of other daemons: their bytes, lines, and messages about invalid lines.

use std::{fmt, fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, Result, bail};
use knock_common::legible::escaped;

/// The largest file that is read, in bytes. A larger one is probably the wrong file.
const MAX_FILE_LEN: u64 = 1024 * 1024;

/// How many errors are shown. A file of another kind has one in every line.
pub(super) const MAX_MISTAKES: usize = 10;

/// The invalid lines of a file, each with its number, from 1, and the reason.
pub(super) type Invalid = Vec<(usize, &'static str)>;

/// The invalid lines, displayed one per line: `FILE:LINE: MESSAGE`.
#[derive(Debug)]
pub(super) struct Mistakes {
    pub(super) file: String,
    pub(super) mistakes: Invalid,
}

/// The content of the file at `path`.
///
/// # Errors
///
/// Returns an error if the file cannot be read or is too large.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let shown = || escaped(&path.display().to_string()).collect::<String>();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|open| open.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes))
        .with_context(shown)?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        bail!(
            "{}: it is larger than {MAX_FILE_LEN} bytes: is it the right file?",
            shown()
        );
    }
    Ok(bytes)
}

/// The lines of `bytes` with their numbers, from 1, without a byte order mark.
pub(super) fn numbered(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    (1..).zip(bytes.split(|byte| *byte == b'\n'))
}

/// `bytes` as text, and whether they are UTF-8. Any bytes are valid Latin-1.
pub(super) fn decoded(bytes: &[u8]) -> (String, bool) {
    match str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), true),
        Err(_) => (bytes.iter().copied().map(char::from).collect(), false),
    }
}

/// Whether `c` is white space as defined by C's `isspace()`, which is less than Unicode white space.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (line, message)) in self.mistakes.iter().take(MAX_MISTAKES).enumerate() {
            let separator = if index > 0 { "\n" } else { "" };
            write!(f, "{separator}{}:{line}: {message}", self.file)?;
        }
        match self.mistakes.len().saturating_sub(MAX_MISTAKES) {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more", self.file),
        }
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_one_line_whatever_a_file_is_called() {
        let error = format!(
            "{:#}",
            read(Path::new("/nowhere/a\n\u{1b}[2J")).unwrap_err()
        );
        assert!(error.starts_with("/nowhere/a\\n\\u{1b}[2J: "), "{error}");
    }
}
