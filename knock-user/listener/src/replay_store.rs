//! The replay store: the accepted single-use knocks.
//!
//! A knock is stored until its timestamp is outside `max_skew`, and for another day. The newest
//! timestamp of the removed knocks is the *horizon*. A knock with a timestamp at or before the
//! horizon may be a replay of a removed one and is refused. So neither a clock that is set
//! back nor a larger `max_skew` makes an old knock valid again.

use std::{path::Path, time::Duration};

use anyhow::Result;
use knockd_runtime::store::Store;
use knockd_types::names::KNOCKS_FILE;
use redb::{Database, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};
use thiserror::Error;

/// The accepted knocks. The key begins with the knock's own timestamp (Unix milliseconds), so that
/// one table serves both look-up and removal of the oldest ones. The identity follows: the block of
/// a SYN knock, or the digest of a datagram.
const ACCEPTED: TableDefinition<'_, (u64, [u8; 16]), ()> = TableDefinition::new("accepted");

/// The horizon, a single value: the newest timestamp of all removed knocks.
const HORIZON: TableDefinition<'_, (), u64> = TableDefinition::new("horizon");

/// The effect of a broken file, and of its removal.
const CONSEQUENCE: &str = "single-use knocks are refused until it is repaired or removed (after a removal, knocks that were made within `max_skew` can be replayed)";

/// The capacity in knocks. Each is a knock by the owner of a key within about a day. At capacity,
/// knocks outside `max_skew` are removed early. If there are none, knocks are refused.
const MAX_KNOCKS: u64 = 65_536;

/// The time for which a knock is kept after its timestamp has left `max_skew`, unless its place is
/// needed: one day. A clock that was ahead by less, such as by a wrong time zone, and is then
/// corrected, does not move the horizon past the true time. Otherwise every client would be refused
/// until then.
const KEPT_STALE_MS: u64 = 24 * 60 * 60 * 1000;

/// Knocks that are removed for each new one: few enough not to delay the knock, and more than one, so that
/// the store shrinks.
const MAX_DROPPED: usize = 256;

/// The reason that an authenticated knock has to be refused.
#[derive(Debug, Error)]
pub(crate) enum RecordError {
    /// The same knock was accepted before.
    #[error("this knock was accepted before")]
    Replayed,
    /// The timestamp is not after the horizon.
    #[error(
        "older than the replay store's horizon: this host's clock was set back, or `max_skew` was raised"
    )]
    BeyondHorizon,
    /// The store is at capacity.
    #[error("the replay store is full: {MAX_KNOCKS} knocks, none of them old enough to be removed")]
    Full,
    /// The store has failed. A knock that cannot be stored is refused.
    #[error("the replay store has failed: {0:#}")]
    Broken(anyhow::Error),
}

impl<E: Into<redb::Error>> From<E> for RecordError {
    fn from(error: E) -> Self {
        Self::Broken(error.into().into())
    }
}

/// The replay store on disk.
#[derive(Debug)]
pub(crate) struct ReplayStore(Store);

impl ReplayStore {
    /// The replay store in the directory `dir`, which messages show as `shown`.
    ///
    /// The daemon also starts with a file that is damaged or not writable: the second value is
    /// the error, and [`ReplayStore::record`] fails until the file is repaired.
    ///
    /// # Errors
    ///
    /// Returns an error if another daemon has the store open.
    pub(crate) fn open(dir: &Path, shown: &Path) -> Result<(Self, Option<anyhow::Error>)> {
        let (store, problem) =
            Store::open(dir.join(KNOCKS_FILE), shown.join(KNOCKS_FILE), CONSEQUENCE)?;
        Ok((Self(store), problem))
    }

    /// Records that the knock `id`, with the timestamp `made_at`, is accepted at `now` (both in Unix
    /// milliseconds). On return the record is on disk.
    ///
    /// # Errors
    ///
    /// Returns an error if the knock has to be refused. The knock is not stored in this case,
    /// unless it was stored before.
    pub(crate) fn record(
        &mut self,
        id: &[u8; 16],
        made_at: u64,
        now: u64,
        max_skew: Duration,
    ) -> Result<(), RecordError> {
        let stale = now.saturating_sub(u64::try_from(max_skew.as_millis()).unwrap_or(u64::MAX));
        // A refusal is not a database failure: for `Store::with` it must not be an error.
        let recorded = self
            .0
            .with(|database| match record(database, id, made_at, stale) {
                Err(RecordError::Broken(error)) => Err(error),
                verdict => Ok(verdict),
            });
        recorded.unwrap_or_else(|error| Err(RecordError::Broken(error)))
    }
}

fn record(database: &Database, id: &[u8; 16], made_at: u64, stale: u64) -> Result<(), RecordError> {
    let transaction = database.begin_write()?;
    {
        let mut accepted = transaction.open_table(ACCEPTED)?;
        let mut horizons = transaction.open_table(HORIZON)?;
        if accepted.get((made_at, *id))?.is_some() {
            return Err(RecordError::Replayed);
        }
        let horizon = horizons.get(())?.map(|horizon| horizon.value());
        if horizon.is_some_and(|horizon| made_at <= horizon) {
            return Err(RecordError::BeyondHorizon);
        }
        let mut stored = accepted.len()?;
        let mut dropped = None;
        for _ in 0..MAX_DROPPED {
            let before = if stored >= MAX_KNOCKS {
                stale
            } else {
                stale.saturating_sub(KEPT_STALE_MS)
            };
            let oldest = accepted.first()?.map(|(key, _)| key.value());
            let Some((age, old)) = oldest.filter(|(age, _)| *age < before) else {
                break;
            };
            accepted.remove((age, old))?;
            stored -= 1;
            dropped = Some(age);
        }
        if let Some(dropped) = dropped {
            horizons.insert((), dropped.max(horizon.unwrap_or_default()))?;
        }
        if stored >= MAX_KNOCKS {
            return Err(RecordError::Full);
        }
        accepted.insert((made_at, *id), ())?;
    }
    // redb's default durability: on return the data is on disk.
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests;
