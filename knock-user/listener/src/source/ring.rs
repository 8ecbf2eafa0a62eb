//! The ring that the XDP program puts knocks on, as its one reader sees it. Needs nothing but
//! its file descriptor: neither the program nor a capability.
//!
//! To wake the reader costs the kernel some 50 times as much as all else about a SYN. A knock
//! wakes it SYN by SYN and is not kept waiting. In a flood the reader looks after the ring by
//! itself, every few milliseconds, and meanwhile holds the last entry that it has read: the kernel
//! wakes only a reader that has given back all before a new one.

mod reader;

use std::{
    io,
    num::NonZeroU32,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, MapType};
use knock_common::{event::KnockEvent, rate::Rate};
use tokio::{
    io::unix::AsyncFd,
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

use self::reader::Reader;
use knockd_runtime::async_fd::readable;
use knockd_runtime::clock::monotonic;
use knockd_types::syn::Syn;

/// Events taken from the ring before the daemon looks after everything else again.
pub const MAX_BATCH: usize = 256;

/// How often the reader may be woken: 1000 times a second, which is twice what one knock
/// needs at the client's default pace, and 128 times at once, which is a knock in eight copies.
const WAKE_UPS: Rate = {
    let (Some(per_second), Some(burst)) = (NonZeroU32::new(1000), NonZeroU32::new(128)) else {
        panic!("both are above zero")
    };
    Rate::new(per_second, burst)
};

/// How long a reader that may not be woken leaves the ring alone: each time that it looks costs
/// some 30 µs. A genuine knock in a flood, or right after one, waits no longer, and a million and
/// a half SYNs a second are a sixth in it of what the ring holds.
const PAUSE: Duration = Duration::from_millis(5);

/// The reading end.
pub struct Ring {
    file: AsyncFd<OwnedFd>,
    reader: Reader,
    /// The bucket of [`WAKE_UPS`].
    wake_ups: u64,
    watch: Watch,
}

/// When to look at the ring again.
#[derive(Clone, Copy, Debug)]
enum Watch {
    /// When woken: everything was read and given back.
    Asleep,
    /// Then, since an entry is held and so nobody is woken.
    Pausing {
        until: Instant,
        /// Whether there was nothing when the ring was looked at before.
        in_vain: bool,
    },
    /// At once: there may be more.
    Behind,
}

impl Ring {
    /// Reads the ring behind `events`, as the supervisor hands it out.
    ///
    /// # Errors
    ///
    /// It is no ring, or cannot be waited for.
    pub fn open(events: OwnedFd) -> Result<Self> {
        let map = MapData::from_fd(events.try_clone()?).context("the ring of knocks")?;
        let map = map.info()?;
        ensure!(
            map.map_type()? == MapType::RingBuf,
            "the map of knocks is no ring"
        );
        let size = usize::try_from(map.max_entries())?;
        Ok(Self {
            reader: Reader::new(events.as_fd(), size).context("the ring cannot be read")?,
            // SAFETY: an `OwnedFd` owns its file, and closes it when it is dropped.
            file: unsafe { readable(events) }?,
            wake_ups: 0,
            // What is on the ring already wakes its reader.
            watch: Watch::Asleep,
        })
    }

    /// Appends the next events to `knocks`, at most [`MAX_BATCH`] of them. Cancel-safe: what
    /// has left the ring is in `knocks`.
    ///
    /// # Errors
    ///
    /// The ring cannot be waited for.
    pub async fn next(&mut self, knocks: &mut Vec<Syn>) -> io::Result<()> {
        while knocks.is_empty() {
            match self.watch {
                // Before reading, so that nothing is forgotten that comes meanwhile.
                Watch::Asleep => self.file.readable().await?.clear_ready(),
                Watch::Pausing { until, .. } => sleep_until(until).await,
                // Lets others have their turn all the same.
                Watch::Behind => consume_budget().await,
            }
            self.read(knocks, MAX_BATCH);
            self.watch = self.next_watch(knocks.len());
        }
        Ok(())
    }

    /// When to look again after `read` events, at most [`MAX_BATCH`], were read.
    fn next_watch(&mut self, read: usize) -> Watch {
        let pause = |in_vain| Watch::Pausing {
            until: Instant::now() + PAUSE,
            in_vain,
        };
        // A flood may come in bursts: only where nothing came for two pauses is it over.
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

    /// Appends every event that is on the ring, without waiting.
    pub fn drain(&mut self, knocks: &mut Vec<Syn>) {
        self.read(knocks, usize::MAX);
        self.reader.release_but_last();
        self.watch = Watch::Behind;
    }

    fn read(&mut self, knocks: &mut Vec<Syn>, most: usize) {
        while knocks.len() < most
            && let Some(entry) = self.reader.read()
        {
            // Both sides are compiled with one layout: another length cannot occur.
            knocks.extend(KnockEvent::from_bytes(entry).map(syn));
        }
    }

    /// Whether the event after those that were just read may wake the reader. While it pauses
    /// and finds some each time, it has no need of that.
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

fn syn(event: KnockEvent) -> Syn {
    Syn {
        source: event.source(),
        source_port: Some(event.source_port),
        offset: event.offset,
        at: Duration::from_nanos(event.arrival_ns),
    }
}
