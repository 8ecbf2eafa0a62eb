//! Standard output, which may be full, closed or a pipe that nobody reads.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::fs::{FileType, fstat, major, minor};

/// The device number of /dev/null.
const NULL: (u32, u32) = (1, 3);

/// Prints `text` and a newline.
///
/// # Errors
///
/// Returns an error if standard output does not take it.
pub(crate) fn print(text: &str) -> Result<()> {
    print_exactly(&format!("{text}\n"))
}

/// Prints `text`.
///
/// # Errors
///
/// Returns an error if standard output does not take it.
pub(crate) fn print_exactly(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("standard output cannot be written")
}

/// Prints `text`, a secret that is shown only once, and a newline. A reader that has exited is an error
/// too.
///
/// # Errors
///
/// Returns an error if nobody would see it.
pub(crate) fn print_secret(text: &str) -> Result<()> {
    // The runtime opens /dev/null in the place of a standard output that is closed.
    if is_null() {
        bail!("standard output is closed or /dev/null, and the invitation is shown only once");
    }
    // Without the cause: the end of a reader is otherwise a success.
    print(text).map_err(|error| anyhow!("the invitation cannot be shown: {error:#}"))
}

fn is_null() -> bool {
    let Ok(stat) = fstat(io::stdout()) else {
        return false;
    };
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == NULL
}
