//! Modes.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::others::Others;

pub(super) const MAKE_PRIVATE: &str = "chmod 600";
pub(super) const MAKE_READ_ONLY: &str = "chmod go-w";

pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)
}

pub(super) fn of_others(file: &File) -> io::Result<Others> {
    let mode = file.metadata()?.mode() & 0o7777;
    Ok(Others {
        read: mode & 0o044 != 0,
        write: mode & 0o022 != 0,
        source: format!("mode {mode:04o}"),
    })
}
