//! What the daemon must not forget: the sealed knocks that it accepted, and the doors that
//! it still has to close ([`leases`]).
//!
//! redb holds it: it is crash-safe by construction (copy on write, checksums, one file),
//! pure Rust and well kept, and a commit returns when the data is on disk. An append-only
//! file of our own would be a little faster and would have all of that to prove first.
//!
//! A block is remembered until its time is out of `max_skew`, and a day longer. What is
//! dropped then leaves the time at which it was made behind, as the *horizon*: a knock that
//! was made at or before the horizon may have been accepted and forgotten, and is refused.
//! So neither a clock that is set back nor a larger `max_skew` brings an old knock back.

pub mod leases;

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use knock_common::protocol::block::{BLOCK_LEN, Block};
use redb::{
    Builder, Database, DatabaseError, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, backends::FileBackend,
};
use thiserror::Error;

/// The accepted blocks, with the Unix milliseconds at which they were made.
const ACCEPTED: TableDefinition<'_, [u8; BLOCK_LEN], u64> = TableDefinition::new("accepted");

/// The same, by age.
const BY_AGE: TableDefinition<'_, (u64, [u8; BLOCK_LEN]), ()> = TableDefinition::new("by_age");

/// One value: when the youngest block that was dropped was made.
const HORIZON: TableDefinition<'_, (), u64> = TableDefinition::new("horizon");

/// The store's file in `state_dir`.
const FILE: &str = "knockd.redb";

/// Blocks that are remembered at the same time: each is a knock that a key's owner made
/// within a day. Beyond it those make room whose time is out, and where none is, nothing is
/// accepted.
const MAX_BLOCKS: u64 = 65_536;

/// How long a block is kept after its time is out of `max_skew`: a day, unless its place is
/// needed. So a clock that is ahead by less, as by a wrong time zone, and then set right,
/// moves no horizon past the true time, which would keep every client out until then.
const KEPT_STALE_MS: u64 = 24 * 60 * 60 * 1000;

/// Blocks that are dropped at once, so that no knock waits for a long clean-up. More than
/// one, so that the store shrinks while knocks come in.
const MAX_DROPPED: usize = 256;

/// Of a file that is a few hundred kilobytes at most.
const CACHE_BYTES: usize = 1024 * 1024;

/// Why an accepted knock must not be acted on.
#[derive(Debug, Error)]
pub enum RememberError {
    /// It was accepted before.
    #[error("this very knock was accepted before")]
    Replayed,
    /// It was made before something that is forgotten already.
    #[error(
        "older than what is remembered: this host's clock was set back, or `max_skew` was raised"
    )]
    BeyondHorizon,
    /// Too many are remembered.
    #[error(
        "{MAX_BLOCKS} knocks are remembered already, and none of them is old enough to be forgotten"
    )]
    Full,
    /// The store does not work, and what cannot be remembered is not accepted.
    #[error("the store does not work: {0:#}")]
    Broken(anyhow::Error),
}

impl<E: Into<redb::Error>> From<E> for RememberError {
    fn from(error: E) -> Self {
        Self::Broken(error.into().into())
    }
}

/// The accepted blocks on disk. When it breaks it is opened again at the next knock, so that
/// a disk that was full for a while needs nobody to restart the daemon.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    database: Option<Database>,
}

impl Store {
    /// The store in the folder `state_dir`, made if it is not there.
    ///
    /// A store that is damaged or cannot be written is no reason not to start: the second
    /// value says what is wrong, and [`Store::remember`] fails until it is right.
    ///
    /// # Errors
    ///
    /// Another daemon has the store open.
    pub fn open(state_dir: &Path) -> Result<(Self, Option<anyhow::Error>)> {
        let path = state_dir.join(FILE);
        let (database, trouble) = match open(&path) {
            Ok(database) => (Some(database), None),
            Err(error) if is_taken(&error) => {
                bail!(
                    "another knockd uses {}: stop it, or set another `state_dir`",
                    path.display()
                )
            }
            Err(error) => (None, Some(error)),
        };
        Ok((Self { path, database }, trouble))
    }

    /// Remembers that `block`, made at `made_at`, is accepted at `now` (Unix milliseconds).
    /// When this returns it is on disk.
    ///
    /// # Errors
    ///
    /// [`RememberError`]: the block must not be acted on. It is not remembered then, unless
    /// it was before.
    pub fn remember(
        &mut self,
        block: &Block,
        made_at: u64,
        now: u64,
        max_skew: Duration,
    ) -> Result<(), RememberError> {
        let stale = now.saturating_sub(u64::try_from(max_skew.as_millis()).unwrap_or(u64::MAX));
        // Of the two kinds of failure only one says that the database is broken.
        match self.with(|database| match remember(database, block, made_at, stale) {
            Err(RememberError::Broken(error)) => Err(error),
            verdict => Ok(verdict),
        }) {
            Ok(verdict) => verdict,
            Err(error) => Err(RememberError::Broken(error)),
        }
    }

    /// Does `work` with the database, which is opened again if it was broken the last time.
    fn with<T>(&mut self, work: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open(&self.path)?,
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
}

fn remember(
    database: &Database,
    block: &Block,
    made_at: u64,
    stale: u64,
) -> Result<(), RememberError> {
    let transaction = database.begin_write()?;
    {
        let mut accepted = transaction.open_table(ACCEPTED)?;
        let mut by_age = transaction.open_table(BY_AGE)?;
        let mut horizons = transaction.open_table(HORIZON)?;
        if accepted.get(block.0)?.is_some() {
            return Err(RememberError::Replayed);
        }
        let horizon = horizons.get(())?.map(|horizon| horizon.value());
        if horizon.is_some_and(|horizon| made_at <= horizon) {
            return Err(RememberError::BeyondHorizon);
        }
        let mut dropped = None;
        for _ in 0..MAX_DROPPED {
            let Some((first, _)) = by_age.first()? else {
                break;
            };
            let (age, old) = first.value();
            drop(first);
            let is_full = accepted.len()? >= MAX_BLOCKS;
            if age
                >= (if is_full {
                    stale
                } else {
                    stale.saturating_sub(KEPT_STALE_MS)
                })
            {
                break;
            }
            by_age.remove((age, old))?;
            accepted.remove(old)?;
            dropped = Some(age);
        }
        if let Some(dropped) = dropped {
            horizons.insert((), dropped.max(horizon.unwrap_or_default()))?;
        }
        if accepted.len()? >= MAX_BLOCKS {
            return Err(RememberError::Full);
        }
        accepted.insert(block.0, made_at)?;
        by_age.insert((made_at, block.0), ())?;
    }
    // redb's default durability: when this returns, the data is on disk.
    transaction.commit()?;
    Ok(())
}

fn open(path: &Path) -> Result<Database> {
    let describe = || format!("the store {}", path.display());
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
                "the store {} cannot be opened; it is left as it is, and sealed knocks are refused until it is repaired or removed (whoever removes it lets knocks in again that were made within `max_skew`)",
                path.display()
            )
        })
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

#[cfg(test)]
mod tests;
