//! The files of a configuration.

use std::{
    borrow::Cow,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::strict;

/// The largest file that is read, and the most that is read of all included files, in bytes: room
/// for a million clients. A larger one is probably the wrong file.
pub(super) const MAX_LEN: u64 = 128 * 1024 * 1024;

/// The index of the file that includes the others.
pub(super) const MAIN: usize = 0;

/// A file of the configuration.
pub(super) struct SourceFile<'t> {
    pub(super) path: PathBuf,
    pub(super) text: Cow<'t, str>,
}

impl SourceFile<'_> {
    /// The folder that relative paths in the file begin in.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}

/// The text of the file at `path`, unless others than root and this user can change it.
pub(super) fn read(path: &Path) -> Result<String> {
    let file = File::open(path).context("the configuration cannot be read")?;
    strict::check(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LEN {
        bail!("it is larger than {MAX_LEN} bytes: is it the right file?");
    }
    String::from_utf8(bytes).context("it is not UTF-8")
}
