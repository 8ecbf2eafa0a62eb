//! How the reader of a ring buffer and the kernel tell each other what is read and written.
//!
//! A new entry wakes the waiting process if all entries before it were released. aya's reader
//! releases each entry as soon as it is read; this one leaves the release to its caller.

use super::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

/// The header before each entry: its length with two flags, and a word for the kernel's own use.
pub(super) const HEADER: usize = 8;
/// The entry is being written (`BPF_RINGBUF_BUSY_BIT`).
const BUSY: u32 = 1 << 31;
/// The entry is to be skipped (`BPF_RINGBUF_DISCARD_BIT`).
const DISCARDED: u32 = 1 << 30;

/// What the kernel and the reader share. Positions count bytes and wrap around.
pub(super) trait Shared {
    /// The position up to which entries are released. The reader writes it.
    fn released(&self) -> &AtomicUsize;

    /// The position up to which there are entries. The kernel writes it.
    fn written(&self) -> &AtomicUsize;

    /// The first word of the header at `position`.
    fn header(&self, position: usize) -> &AtomicU32;
}

/// A written entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The position of its header.
    pub(super) position: usize,
    /// The number of bytes after the header.
    pub(super) len: usize,
}

/// How far the reader is.
pub(super) struct Positions {
    /// The position up to which there were entries when it was last read.
    end: usize,
    /// The position of the next entry.
    next: usize,
    /// The position of the last entry that was read, or that of the next one.
    last: usize,
}

impl Positions {
    /// Those of a reader that begins where the one before has ended.
    pub(super) fn new(shared: &impl Shared) -> Self {
        let next = shared.released().load(Ordering::Acquire);
        Self {
            end: next,
            next,
            last: next,
        }
    }

    /// The next entry, if one is written.
    pub(super) fn read(&mut self, shared: &impl Shared) -> Option<Written> {
        while self.has_next(shared) {
            let header = shared.header(self.next).load(Ordering::Acquire);
            if header & BUSY != 0 {
                return None;
            }
            let len = (header & !DISCARDED) as usize;
            self.last = self.next;
            self.next = self.next.wrapping_add((HEADER + len).next_multiple_of(8));
            if header & DISCARDED == 0 {
                let position = self.last;
                return Some(Written { position, len });
            }
        }
        None
    }

    /// Releases every entry that was read. Returns whether no further entry is written, so that the
    /// next one wakes the reader.
    pub(super) fn release(&mut self, shared: &impl Shared) -> bool {
        shared.released().store(self.next, Ordering::Release);
        // The kernel publishes an entry and then reads the position. The reader has to do this in
        // the opposite order, or both could miss the other's store.
        fence(Ordering::SeqCst);
        !self.has_next(shared) || self.is_busy(shared)
    }

    /// Releases every entry that was read except the last one.
    pub(super) fn release_but_last(&self, shared: &impl Shared) {
        shared.released().store(self.last, Ordering::Release);
    }

    fn has_next(&mut self, shared: &impl Shared) -> bool {
        if self.next == self.end {
            self.end = shared.written().load(Ordering::Acquire);
        }
        self.next != self.end
    }

    /// Whether the next entry, which must exist, is being written.
    fn is_busy(&self, shared: &impl Shared) -> bool {
        shared.header(self.next).load(Ordering::Acquire) & BUSY != 0
    }
}
