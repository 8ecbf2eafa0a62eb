//! What the entries of the ring buffers mean.

use std::time::Duration;

use knock_common::event::{DATAGRAM_RING_BYTES, DatagramEvent, KnockEvent, RING_BYTES};
use knockd_types::{datagram::Datagram, syn::Syn};

/// An entry of a ring buffer.
pub trait Entry: Sized {
    /// The size of its ring buffer.
    const RING_BYTES: u32;

    /// The polling interval of a reader that may not be woken. Each poll costs about 30 µs. A genuine
    /// knock during or right after a flood is delayed by at most this time.
    const PAUSE: Duration;

    /// Decodes the entry; `None` if its length is wrong.
    fn from_bytes(entry: &[u8]) -> Option<Self>;
}

impl Entry for Syn {
    const RING_BYTES: u32 = RING_BYTES;

    /// A flood of 1.5 million SYNs per second fills a sixth of the ring in it.
    const PAUSE: Duration = Duration::from_millis(5);

    fn from_bytes(entry: &[u8]) -> Option<Self> {
        let event = KnockEvent::from_bytes(entry)?;
        Some(Self {
            source: event.source(),
            source_port: Some(event.source_port),
            offset: event.offset,
            at: Duration::from_nanos(event.arrival_ns),
        })
    }
}

impl Entry for Datagram {
    const RING_BYTES: u32 = DATAGRAM_RING_BYTES;

    /// A flood of 1.5 million datagrams per second fills a quarter of the ring in it.
    const PAUSE: Duration = Duration::from_millis(1);

    fn from_bytes(entry: &[u8]) -> Option<Self> {
        let event = DatagramEvent::from_bytes(entry)?;
        Some(Self {
            source: event.source(),
            source_port: event.source_port,
            at: Duration::from_nanos(event.arrival_ns),
            bytes: event.bytes,
        })
    }
}
