//! What the daemon must not forget: the sealed knocks that it accepted ([`knocks`]), and the
//! doors that it still has to close ([`leases`]). Two files, since two processes keep them.
//!
//! redb holds each: it is crash-safe by construction (copy on write, checksums, one file),
//! pure Rust and well kept, and a commit returns when the data is on disk. An append-only
//! file of our own would be a little faster and would have all of that to prove first.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use redb::{Builder, Database, DatabaseError, backends::FileBackend};

/// Of a file that is a few hundred kilobytes at most.
const CACHE_BYTES: usize = 1024 * 1024;

/// A file on disk. When it breaks it is opened again the next time, so that a disk that was
/// full for a while needs nobody to restart the daemon.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// What the file is called for a person.
    shown: PathBuf,
    /// What whoever removes a broken file has to know.
    consequence: &'static str,
    database: Option<Database>,
}

impl Store {
    /// The store at `path`, made with its folder if it is not there.
    ///
    /// A store that is damaged or cannot be written is no reason not to start: the second
    /// value says what is wrong, and [`Store::with`] fails until it is right.
    ///
    /// # Errors
    ///
    /// Another daemon has the store open.
    pub fn open(
        path: PathBuf,
        shown: PathBuf,
        consequence: &'static str,
    ) -> Result<(Self, Option<anyhow::Error>)> {
        let mut store = Self {
            path,
            shown,
            consequence,
            database: None,
        };
        let trouble = match store.database() {
            Ok(database) => {
                store.database = Some(database);
                None
            }
            Err(error) if is_taken(&error) => {
                bail!(
                    "another knockd uses {}: stop it, or set another `state_dir`",
                    store.shown.display()
                )
            }
            Err(error) => Some(error),
        };
        Ok((store, trouble))
    }

    /// Does `work` with the database, which is opened again if it was broken the last time.
    ///
    /// # Errors
    ///
    /// Returns an error if the database cannot be opened, or the one of `work`.
    pub fn with<T>(&mut self, work: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.database()?,
        };
        // A damaged page may be met by a panic in the library instead of an error.
        let result = catch_unwind(AssertUnwindSafe(|| work(&database)))
            .unwrap_or_else(|_| Err(anyhow!("it is damaged")));
        // After an error of the disk the database refuses everything until it is reopened.
        if result.is_ok() {
            self.database = Some(database);
        }
        result
    }

    fn database(&self) -> Result<Database> {
        let path = &self.path;
        let describe = || format!("the store {}", self.shown.display());
        if !path.try_exists().with_context(describe)? {
            create(path).with_context(describe)?;
        }
        let mut builder = builder();
        builder.set_check_integrity_on_open(true);
        // A damaged file may be met by a panic in the library instead of an error.
        catch_unwind(AssertUnwindSafe(|| builder.open(path)))
            .map_err(|_| anyhow!("it is damaged"))
            .and_then(|opened| opened.map_err(Into::into))
            .with_context(|| {
                format!(
                    "the store {} cannot be opened; it is left as it is, and {}",
                    self.shown.display(),
                    self.consequence
                )
            })
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Makes an empty store that is complete before it has its name: an empty file of that name
/// is never taken for a store that remembers nothing.
fn create(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    drop(builder().create_with_backend(FileBackend::new(file)?)?);
    fs::rename(&new, path)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

fn is_taken(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<DatabaseError>(),
        Some(DatabaseError::DatabaseAlreadyOpen)
    )
}
