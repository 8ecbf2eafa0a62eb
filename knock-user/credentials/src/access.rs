//! Who besides its owner can use a file, and files that only their owner can use.

mod others;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::{fs::File, io, path::Path};

pub use self::others::Others;
#[cfg(unix)]
use self::unix as system;
#[cfg(windows)]
use self::windows as system;

/// The command that makes a file its owner's alone, for messages.
pub const MAKE_PRIVATE: &str = system::MAKE_PRIVATE;

/// The command that lets only its owner change a file, for messages.
pub const MAKE_READ_ONLY: &str = system::MAKE_READ_ONLY;

/// Creates a file at `path`, for writing, that only its owner can use.
///
/// # Errors
///
/// Returns an error if the file exists or cannot be created.
pub fn create_private(path: &Path) -> io::Result<File> {
    system::create_private(path)
}

/// What users other than the owner of `file` can do with it.
///
/// # Errors
///
/// Returns an error if the system does not tell.
pub fn of_others(file: &File) -> io::Result<Others> {
    system::of_others(file)
}
