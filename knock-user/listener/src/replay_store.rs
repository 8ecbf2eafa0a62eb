//! The replay store: the accepted single-use knocks.
//!
//! A knock is stored until its timestamp is outside `max_skew`, and for another day. The newest
//! timestamp of the removed knocks is the *horizon*. A knock with a timestamp at or before the
//! horizon may be a replay of a removed one and is refused. So neither a clock that is set
//! back nor a larger `max_skew` makes an old knock valid again.

pub(crate) mod journal;

use std::{
    collections::{HashSet, VecDeque},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use knockd_runtime::durable::Taken;
use knockd_types::names::KNOCKS_FILE;
use thiserror::Error;

use self::journal::{Journal, Record};

pub(crate) use self::journal::MAX_BATCH;

/// The effect of a broken file, and of its removal.
const CONSEQUENCE: &str = "single-use knocks are refused until it is repaired, or until it is removed and knockd is restarted (after that, knocks that were made within `max_skew` can be replayed)";

/// The capacity in knocks. Each is a knock by the owner of a key within about a day. At capacity,
/// knocks outside `max_skew` are removed early. If there are none, knocks are refused.
const MAX_KNOCKS: usize = 65_536;

/// The time for which a knock is kept after its timestamp has left `max_skew`, unless its place is
/// needed: one day. A clock that was ahead by less, such as by a wrong time zone, and is then
/// corrected, does not move the horizon past the true time. Otherwise every client would be refused
/// until then.
const KEPT_STALE_MS: u64 = 24 * 60 * 60 * 1000;

/// Knocks that are removed for each new one: few enough not to delay it, and more than one, so that
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
    Broken(#[from] anyhow::Error),
}

/// The replay store on disk.
///
/// A knock is first [entered](Self::enter), which checks it, and then [committed](Self::commit),
/// alone or together with others: one write for all of them.
#[derive(Debug)]
pub(crate) struct ReplayStore {
    path: PathBuf,
    /// The path that messages show.
    shown: PathBuf,
    /// `None` after an error. Then the file is opened again on the next use, so that the daemon
    /// recovers from a full disk without a restart.
    open: Option<Open>,
}

/// An open store.
#[derive(Debug)]
struct Open {
    journal: Journal,
    /// The accepted knocks, in the order of their acceptance.
    order: VecDeque<(u64, [u8; 16])>,
    index: HashSet<(u64, [u8; 16])>,
    /// Those that were given back. They have their places in the order and are on disk.
    given_back: HashSet<(u64, [u8; 16])>,
    /// The newest timestamp of the removed knocks; 0 if none was removed.
    horizon: u64,
    /// Entered, but not committed.
    entered: Vec<Record>,
}

impl ReplayStore {
    /// The replay store in the directory `dir`, which messages show as `shown`.
    ///
    /// The daemon also starts with a file that is damaged or not writable: the second value is
    /// the error, and [`ReplayStore::enter`] fails until the file is repaired.
    ///
    /// # Errors
    ///
    /// Returns an error if another daemon has the store open.
    pub(crate) fn open(dir: &Path, shown: &Path) -> Result<(Self, Option<anyhow::Error>)> {
        let mut store = Self {
            path: dir.join(KNOCKS_FILE),
            shown: shown.join(KNOCKS_FILE),
            open: None,
        };
        match store.opened() {
            Ok(_) => Ok((store, None)),
            Err(error) if error.is::<Taken>() => bail!(
                "another knockd uses {}: stop it, or set another `state_dir`",
                store.shown.display()
            ),
            Err(error) => Ok((store, Some(error))),
        }
    }

    /// Enters the knock `id`, with the timestamp `made_at`, as accepted at `now` (both in Unix
    /// milliseconds). It is not on disk yet.
    ///
    /// # Errors
    ///
    /// Returns an error if the knock has to be refused. It is not entered then.
    pub(crate) fn enter(
        &mut self,
        id: &[u8; 16],
        made_at: u64,
        now: u64,
        max_skew: Duration,
    ) -> Result<(), RecordError> {
        let stale = now.saturating_sub(u64::try_from(max_skew.as_millis()).unwrap_or(u64::MAX));
        self.opened()?.enter(id, made_at, stale)
    }

    /// Writes the entered knocks. On return they are on disk.
    ///
    /// # Errors
    ///
    /// Returns an error if they cannot be written: all of them have to be refused.
    pub(crate) fn commit(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let written = open.commit();
        if written.is_err() {
            // It is opened again on the next use, which reads what was written.
            self.open = None;
        }
        written
    }

    /// Makes a committed knock acceptable again, because it has opened nothing. Not on disk: after a
    /// restart it is refused as accepted before.
    pub(crate) fn give_back(&mut self, id: &[u8; 16], made_at: u64) {
        if let Some(open) = &mut self.open {
            // Its place in the order remains. When that is removed, the horizon covers the knock.
            let key = (made_at, *id);
            if open.index.remove(&key) {
                open.given_back.insert(key);
            }
        }
    }

    /// The open store. Opens it if it is not.
    fn opened(&mut self) -> Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.path).with_context(|| {
                format!(
                    "the store {} cannot be opened and is left unchanged; {CONSEQUENCE}",
                    self.shown.display()
                )
            })?,
        };
        Ok(self.open.insert(open))
    }
}

impl Open {
    fn new(path: &Path) -> Result<Self> {
        let (journal, records) = Journal::open(path)?;
        let horizon = records.iter().map(|record| record.horizon).max();
        let horizon = horizon.unwrap_or_default();
        let keys = records.iter().map(|record| (record.made_at, record.id));
        // The others were removed: the file contains more records than the store keeps.
        let order: VecDeque<_> = keys.filter(|(made_at, _)| *made_at > horizon).collect();
        Ok(Self {
            journal,
            index: order.iter().copied().collect(),
            order,
            given_back: HashSet::new(),
            horizon,
            entered: Vec::new(),
        })
    }

    fn enter(&mut self, id: &[u8; 16], made_at: u64, stale: u64) -> Result<(), RecordError> {
        let key = (made_at, *id);
        if self.index.contains(&key) {
            return Err(RecordError::Replayed);
        }
        if self.horizon > 0 && made_at <= self.horizon {
            return Err(RecordError::BeyondHorizon);
        }
        // Whoever has recorded it may send it at any rate: it takes one place, and is written once.
        if self.given_back.remove(&key) {
            self.index.insert(key);
            return Ok(());
        }
        if self.entered.len() == MAX_BATCH {
            return Err(RecordError::Broken(anyhow!("too many knocks at once")));
        }
        self.remove_old(stale);
        if self.order.len() >= MAX_KNOCKS {
            return Err(RecordError::Full);
        }
        self.order.push_back(key);
        self.index.insert(key);
        self.entered.push(Record {
            made_at,
            id: *id,
            horizon: self.horizon,
        });
        Ok(())
    }

    /// Removes the oldest knocks whose timestamp is far enough before `stale`.
    fn remove_old(&mut self, stale: u64) {
        for _ in 0..MAX_DROPPED {
            let before = if self.order.len() >= MAX_KNOCKS {
                stale
            } else {
                stale.saturating_sub(KEPT_STALE_MS)
            };
            let Some(old) = self.order.pop_front_if(|(made_at, _)| *made_at < before) else {
                break;
            };
            self.index.remove(&old);
            self.given_back.remove(&old);
            self.horizon = self.horizon.max(old.0);
        }
    }

    fn commit(&mut self) -> Result<()> {
        if !self.entered.is_empty() {
            self.journal.append(&self.entered)?;
            self.entered.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
