//! The ring that the XDP program puts knocks on, as its one reader sees it. Needs nothing but
//! its file descriptor: neither the program nor a capability.

use std::{io, os::fd::OwnedFd, time::Duration};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, RingBuf};
use knock_common::event::KnockEvent;
use tokio::io::unix::AsyncFd;

use super::readable;
use crate::daemon::knock::Knock;

/// Events taken from the ring before the daemon looks after everything else again.
pub const MAX_BATCH: usize = 256;

/// The reading end.
pub struct Ring(AsyncFd<RingBuf<MapData>>);

impl Ring {
    /// Reads the ring behind `events`, as [`Xdp::events`](super::Xdp::events) hands it out.
    ///
    /// # Errors
    ///
    /// It is no ring, or cannot be waited for.
    pub fn open(events: OwnedFd) -> Result<Self> {
        let map = MapData::from_fd(events).context("the ring of knocks")?;
        let ring: RingBuf<_> = Map::RingBuf(map).try_into()?;
        Ok(Self(readable(ring)?))
    }

    /// Appends the next events to `knocks`, at most [`MAX_BATCH`] of them. Cancel-safe: what
    /// has left the ring is in `knocks`.
    ///
    /// # Errors
    ///
    /// The ring cannot be waited for.
    pub async fn next(&mut self, knocks: &mut Vec<Knock>) -> io::Result<()> {
        let mut events = self.0.readable_mut().await?;
        while knocks.len() < MAX_BATCH {
            let Some(entry) = events.get_inner_mut().next() else {
                events.clear_ready();
                break;
            };
            // Both sides are compiled with one layout: another length cannot occur.
            knocks.extend(KnockEvent::from_bytes(&entry).map(Knock::from));
        }
        Ok(())
    }

    /// Appends every event that is on the ring, without waiting.
    pub fn drain(&mut self, knocks: &mut Vec<Knock>) {
        while let Some(entry) = self.0.get_mut().next() {
            knocks.extend(KnockEvent::from_bytes(&entry).map(Knock::from));
        }
    }
}

impl From<KnockEvent> for Knock {
    fn from(event: KnockEvent) -> Self {
        Self {
            source: event.source(),
            source_port: Some(event.source_port),
            offset: event.offset,
            at: Duration::from_nanos(event.arrival_ns),
        }
    }
}
