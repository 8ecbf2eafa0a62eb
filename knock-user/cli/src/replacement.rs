//! The replacement of a configuration file, at once or not at all.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use knockd_config::NEW_EXTENSION;

use crate::new_file::{self, NewFile};

/// The new content of a file, beside it. While it exists, nobody else can change the file by these
/// commands. Dropping it leaves the file as it is.
#[derive(Debug)]
pub(crate) struct Replacement {
    path: PathBuf,
    file: File,
    new: NewFile,
}

impl Replacement {
    /// Begins to replace the file at `path`. The replacement has the same owner and mode.
    ///
    /// # Errors
    ///
    /// Returns an error if another change is in progress, or if nothing can be written beside the file.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        // A symbolic link stays one.
        let path = fs::canonicalize(path).with_context(|| path.display().to_string())?;
        let old = fs::metadata(&path)?;
        let new = path.with_extension(NEW_EXTENSION);
        // This file also serves as a lock against a concurrent change.
        let file = new_file::create(&new, old.mode() & 0o7777).context(
            "another change of the configuration is in progress; if none is, remove this file",
        )?;
        let new = NewFile::at(new);
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
        Ok(Self { path, file, new })
    }

    /// Writes the new content.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be written.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        new_file::write_synced(&self.file, text)
            .with_context(|| self.new.path().display().to_string())
    }

    /// Puts the new content in the place of the old.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be replaced. It is unchanged then.
    pub(crate) fn complete(self) -> Result<()> {
        fs::rename(self.new.path(), &self.path).with_context(|| self.path.display().to_string())?;
        self.new.keep();
        if let Some(folder) = self.path.parent() {
            // The file is replaced already: an error here must not look as if it were not.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}
