//! New files, which are removed again if a later step fails.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// A new file. Dropping this value removes the file, unless [`NewFile::keep`] is called.
#[derive(Debug)]
#[must_use]
pub(crate) struct NewFile(PathBuf);

impl NewFile {
    /// Takes responsibility for the file at `path`, which this process has created.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves the file where it is.
    pub(crate) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // The file may have been removed already.
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Writes `text` to the new configuration at `path` with mode 0600.
///
/// # Errors
///
/// Returns an error if `path` exists already or cannot be written.
pub(crate) fn write_configuration(path: &Path, text: &str) -> Result<NewFile> {
    prepare_directory(path)?;
    let file = create(path, 0o600)?;
    let new = NewFile::at(path.to_owned());
    write_synced(&file, text)?;
    Ok(new)
}

/// Creates the directory of the new configuration at `path`.
///
/// # Errors
///
/// Returns an error if `path` exists already or the directory cannot be created.
pub(crate) fn prepare_directory(path: &Path) -> Result<()> {
    if path.try_exists()? {
        bail!(
            "{} exists already and is left unchanged: `knockd client add NAME` adds a client to it",
            path.display()
        );
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// Creates the file at `path`.
///
/// # Errors
///
/// Returns an error if `path` exists already or cannot be created.
pub(crate) fn create(path: &Path, mode: u32) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| path.display().to_string())
}

/// Writes `text` to `file`, and waits until it is on disk.
///
/// # Errors
///
/// Returns an error if the file cannot be written.
pub(crate) fn write_synced(mut file: &File, text: &str) -> Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(())
}
