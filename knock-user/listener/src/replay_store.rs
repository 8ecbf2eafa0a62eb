//! The sealed knocks that were accepted: each holds once.
//!
//! A block is remembered until its time is out of `max_skew`, and a day longer. What is
//! dropped then leaves the time at which it was made behind, as the *horizon*: a knock that
//! was made at or before the horizon may have been accepted and forgotten, and is refused.
//! So neither a clock that is set back nor a larger `max_skew` brings an old knock back.

use std::{path::Path, time::Duration};

use anyhow::Result;
use knock_common::protocol::block::{BLOCK_LEN, Block};
use redb::{Database, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};
use thiserror::Error;

use knockd_runtime::store::Store;
use knockd_types::names::KNOCKS_FILE;

/// The accepted blocks behind the Unix milliseconds at which they were made, which stand in the
/// block itself: so one table both knows a block and has the oldest first.
const ACCEPTED: TableDefinition<'_, (u64, [u8; BLOCK_LEN]), ()> = TableDefinition::new("accepted");

/// One value: when the youngest block that was dropped was made.
const HORIZON: TableDefinition<'_, (), u64> = TableDefinition::new("horizon");

/// What becomes of knocks while the file is broken, and when it is removed.
const CONSEQUENCE: &str = "sealed knocks are refused until it is repaired or removed (whoever removes it lets knocks in again that were made within `max_skew`)";

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

/// Why an accepted knock must not be acted on.
#[derive(Debug, Error)]
pub(crate) enum RememberError {
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

/// The accepted blocks on disk.
#[derive(Debug)]
pub(crate) struct Knocks(Store);

impl Knocks {
    /// The blocks in `folder`, which is called `shown` in messages.
    ///
    /// A file that is damaged or cannot be written is no reason not to start: the second
    /// value says what is wrong, and [`Knocks::remember`] fails until it is right.
    ///
    /// # Errors
    ///
    /// Another daemon has it open.
    pub(crate) fn open(folder: &Path, shown: &Path) -> Result<(Self, Option<anyhow::Error>)> {
        let (store, trouble) = Store::open(
            folder.join(KNOCKS_FILE),
            shown.join(KNOCKS_FILE),
            CONSEQUENCE,
        )?;
        Ok((Self(store), trouble))
    }

    /// Remembers that `block`, made at `made_at`, is accepted at `now` (Unix milliseconds).
    /// When this returns it is on disk.
    ///
    /// # Errors
    ///
    /// [`RememberError`]: the block must not be acted on. It is not remembered then, unless
    /// it was before.
    pub(crate) fn remember(
        &mut self,
        block: &Block,
        made_at: u64,
        now: u64,
        max_skew: Duration,
    ) -> Result<(), RememberError> {
        let stale = now.saturating_sub(u64::try_from(max_skew.as_millis()).unwrap_or(u64::MAX));
        // Of the two kinds of failure only one says that the database is broken.
        let remembered = self
            .0
            .with(|database| match remember(database, block, made_at, stale) {
                Err(RememberError::Broken(error)) => Err(error),
                verdict => Ok(verdict),
            });
        remembered.unwrap_or_else(|error| Err(RememberError::Broken(error)))
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
        let mut horizons = transaction.open_table(HORIZON)?;
        if accepted.get((made_at, block.0))?.is_some() {
            return Err(RememberError::Replayed);
        }
        let horizon = horizons.get(())?.map(|horizon| horizon.value());
        if horizon.is_some_and(|horizon| made_at <= horizon) {
            return Err(RememberError::BeyondHorizon);
        }
        let mut remembered = accepted.len()?;
        let mut dropped = None;
        for _ in 0..MAX_DROPPED {
            let before = if remembered >= MAX_BLOCKS {
                stale
            } else {
                stale.saturating_sub(KEPT_STALE_MS)
            };
            let oldest = accepted.first()?.map(|(key, _)| key.value());
            let Some((age, old)) = oldest.filter(|(age, _)| *age < before) else {
                break;
            };
            accepted.remove((age, old))?;
            remembered -= 1;
            dropped = Some(age);
        }
        if let Some(dropped) = dropped {
            horizons.insert((), dropped.max(horizon.unwrap_or_default()))?;
        }
        if remembered >= MAX_BLOCKS {
            return Err(RememberError::Full);
        }
        accepted.insert((made_at, block.0), ())?;
    }
    // redb's default durability: when this returns, the data is on disk.
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests;
