//! The reader of the XDP program's ring buffers: that of SYNs, and that of knock datagrams. It needs
//! nothing but the file descriptor: neither the program nor a capability.
//!
//! Waking the reader costs the kernel about 50 times as much as all other processing of a SYN. Each
//! SYN of a knock wakes the reader, so that the knock is not delayed. In a flood the reader polls
//! the ring every few milliseconds and holds back the release of the last entry that it has read:
//! the kernel wakes a reader only if it has released everything before the new entry.

mod atomic;
mod entry;
#[cfg(test)]
mod model;
mod positions;
mod reader;

use std::{
    io,
    marker::PhantomData,
    num::NonZeroU32,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use knock_common::rate::Rate;
use knockd_runtime::{async_fd::readable, clock::monotonic};
use tokio::{
    io::unix::AsyncFd,
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

pub use self::entry::Entry;
use self::reader::Reader;

/// Events that are read before the event loop polls everything else again.
pub const MAX_BATCH: usize = 256;

/// The rate limit of wake-ups: 1000 per second, twice the rate of a knock at the client's default
/// pace, and a burst of 128, which is a knock in eight copies.
const WAKE_UPS: Rate = {
    let (Some(per_second), Some(burst)) = (NonZeroU32::new(1000), NonZeroU32::new(128)) else {
        panic!("both are above zero")
    };
    Rate::new(per_second, burst)
};

/// The reading end of a ring buffer with entries of one kind:
/// [`Syn`](knockd_types::syn::Syn) or [`Datagram`](knockd_types::datagram::Datagram).
pub struct Ring<E> {
    file: AsyncFd<OwnedFd>,
    reader: Reader,
    /// The state of the token bucket of [`WAKE_UPS`].
    wake_ups: u64,
    watch: Watch,
    entry: PhantomData<fn() -> E>,
}

/// The time of the next read.
#[derive(Clone, Copy, Debug)]
enum Watch {
    /// When woken: everything was read and released.
    Asleep,
    /// At a fixed time, because an unreleased entry suppresses wake-ups.
    Pausing {
        until: Instant,
        /// Whether the previous poll found nothing.
        in_vain: bool,
    },
    /// At once: there may be more.
    Behind,
}

impl<E: Entry> Ring<E> {
    /// A reader of the ring `events`, which the supervisor has opened.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be mapped as a ring buffer of [`Entry::RING_BYTES`], or cannot
    /// be waited for.
    pub fn open(events: OwnedFd) -> Result<Self> {
        // The kernel is not asked for the size: before Linux 5.19 that needs a capability.
        let size = usize::try_from(E::RING_BYTES)?;
        Ok(Self {
            reader: Reader::new(events.as_fd(), size).context("the ring buffer cannot be read")?,
            // SAFETY: an `OwnedFd` owns its file descriptor and closes it when it is dropped.
            file: unsafe { readable(events) }?,
            wake_ups: 0,
            // Entries that are on the ring already make it readable.
            watch: Watch::Asleep,
            entry: PhantomData,
        })
    }

    /// Appends the next events to `batch`, at most [`MAX_BATCH`] of them. Cancel-safe: an event that
    /// was read is in `batch`.
    ///
    /// # Errors
    ///
    /// Returns an error if the ring cannot be waited for.
    pub async fn next(&mut self, batch: &mut Vec<E>) -> io::Result<()> {
        while batch.is_empty() {
            match self.watch {
                // Cleared before the ring is read, so that no later event is missed.
                Watch::Asleep => self.file.readable().await?.clear_ready(),
                Watch::Pausing { until, .. } => sleep_until(until).await,
                // Yields to other tasks from time to time.
                Watch::Behind => consume_budget().await,
            }
            self.read(batch, MAX_BATCH);
            self.watch = self.next_watch(batch.len());
        }
        Ok(())
    }

    /// The time of the next read after `read` events, at most [`MAX_BATCH`], were read.
    fn next_watch(&mut self, read: usize) -> Watch {
        let pause = |in_vain| Watch::Pausing {
            until: Instant::now() + E::PAUSE,
            in_vain,
        };
        // A flood may come in bursts. It is over when two polls in a row found nothing.
        let is_over = !matches!(self.watch, Watch::Pausing { in_vain: false, .. });
        if read >= MAX_BATCH {
            self.reader.release_but_last();
            Watch::Behind
        } else if read > 0 && !self.may_sleep() {
            self.reader.release_but_last();
            pause(false)
        } else if read == 0 && !is_over {
            pause(true)
        } else if self.reader.release() {
            Watch::Asleep
        } else {
            Watch::Behind
        }
    }

    /// Appends every event that is on the ring to `batch`, without waiting.
    pub fn drain(&mut self, batch: &mut Vec<E>) {
        self.read(batch, usize::MAX);
        self.reader.release_but_last();
        self.watch = Watch::Behind;
    }

    fn read(&mut self, batch: &mut Vec<E>, most: usize) {
        while batch.len() < most
            && let Some(entry) = self.reader.read()
        {
            // Program and daemon share the layout, so the length is always right.
            batch.extend(E::from_bytes(entry));
        }
    }

    /// Whether the event after those that were just read may wake the reader. A reader that polls
    /// and finds events each time does not need to be woken.
    fn may_sleep(&mut self) -> bool {
        if !matches!(self.watch, Watch::Asleep) {
            return false;
        }
        let now = u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX);
        let Some(wake_ups) = WAKE_UPS.take(self.wake_ups, now) else {
            return false;
        };
        self.wake_ups = wake_ups;
        true
    }
}
