//! A database file for persistent state: the listener's replay store and the supervisor's lease
//! journal. They are two files, because they belong to different processes.
//!
//! Both use redb: crash-safe by construction (copy on write, checksums, one file), pure Rust and
//! well maintained, and a commit returns when the data is on disk. A custom append-only file would
//! be slightly faster, but all of this would have to be proved for it.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use redb::{Builder, Database, DatabaseError, backends::FileBackend};

/// redb's cache in bytes. The files have a few hundred kilobytes at most.
const CACHE_BYTES: usize = 1024 * 1024;

/// A database file. After an error it is opened again on the next use, so that the daemon
/// recovers from a full disk without a restart.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// The path that messages show.
    shown: PathBuf,
    /// The effect of a broken file, and of its removal, for the error message.
    consequence: &'static str,
    database: Option<Database>,
}

impl Store {
    /// The store at `path`. Creates the file and its directory if they do not exist.
    ///
    /// The daemon also starts with a store that is damaged or not writable: the second value is
    /// the error, and [`Store::with`] fails until the file is repaired.
    ///
    /// # Errors
    ///
    /// Returns an error if another daemon has the store open.
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
        let problem = match store.database() {
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
        Ok((store, problem))
    }

    /// Runs `work` on the database. Opens it again if the last use failed.
    ///
    /// # Errors
    ///
    /// Returns an error if the database cannot be opened, or the one of `work`.
    pub fn with<T>(&mut self, work: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.database()?,
        };
        // redb may panic on a damaged page instead of returning an error.
        let result = catch_unwind(AssertUnwindSafe(|| work(&database)))
            .unwrap_or_else(|_| Err(anyhow!("it is damaged")));
        // After an I/O error redb refuses all operations until the file is reopened.
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
        // redb may panic on a damaged file instead of returning an error.
        catch_unwind(AssertUnwindSafe(|| builder.open(path)))
            .map_err(|_| anyhow!("it is damaged"))
            .and_then(|opened| opened.map_err(Into::into))
            .with_context(|| {
                format!(
                    "the store {} cannot be opened and is left unchanged; {}",
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

/// Creates an empty store under a temporary name and renames it when it is complete: an empty file
/// at `path` must not pass for an empty store.
fn create(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
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
    fs::File::open(dir)?.sync_all()?;
    Ok(())
}

fn is_taken(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<DatabaseError>(),
        Some(DatabaseError::DatabaseAlreadyOpen)
    )
}
