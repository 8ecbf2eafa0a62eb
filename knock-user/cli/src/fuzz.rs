//! The fuzzing target of this crate, for `tests/fuzz`.

use std::path::Path;

use crate::import::{Import, source::Source};

/// The configuration that `bytes`, one of the other knockd, is converted to. `None` if it is invalid
/// or no door can be converted.
#[must_use]
pub fn imported(bytes: &[u8]) -> Option<String> {
    let source = Source::parse(bytes).ok()?;
    let import = Import::new(&source, Path::new("/etc/knockd.conf"));
    (!import.doors.is_empty()).then_some(import.text)
}
