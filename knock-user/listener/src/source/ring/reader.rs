//! The memory that a ring buffer shares with its reader (`BPF_MAP_TYPE_RINGBUF`,
//! Documentation/bpf/ringbuf.rst of the kernel).
//!
//! A new entry wakes the waiting process if all entries before it were released. aya's reader
//! releases each entry as soon as it is read; this one leaves the release to its caller.

use std::{
    ffi::c_void,
    io,
    os::fd::BorrowedFd,
    ptr::{NonNull, null_mut},
    slice,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence},
};

use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    param::page_size,
};

/// The header before each entry: its length with two flags, and a word for the kernel's own use.
const HEADER: usize = 8;
/// The entry is being written (`BPF_RINGBUF_BUSY_BIT`).
const BUSY: u32 = 1 << 31;
/// The entry is to be skipped (`BPF_RINGBUF_DISCARD_BIT`).
const DISCARDED: u32 = 1 << 30;

/// The only reader of a ring buffer.
pub(super) struct Reader {
    /// A page whose first word the reader writes: the position up to which entries are released.
    released: Pages,
    /// A page whose first word the kernel writes: the position up to which there are entries. Then
    /// the entries, mapped twice in a row, so that each of them is contiguous.
    entries: Pages,
    /// The ring's size, a power of two, minus one.
    mask: usize,
    /// The position up to which there were entries when it was last read.
    end: usize,
    /// The position of the next entry.
    next: usize,
    /// The position of the last entry that was read, or that of the next one.
    last: usize,
}

impl Reader {
    /// A reader of `ring`, which has `size` bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if the ring cannot be mapped.
    pub(super) fn new(ring: BorrowedFd<'_>, size: usize) -> io::Result<Self> {
        let page = page_size();
        let released = Pages::map(ring, 0, page, ProtFlags::READ | ProtFlags::WRITE)?;
        let entries = Pages::map(ring, page, page + 2 * size, ProtFlags::READ)?;
        let next = released.position().load(Ordering::Acquire);
        Ok(Self {
            released,
            entries,
            mask: size - 1,
            end: next,
            next,
            last: next,
        })
    }

    /// The next entry, which stays valid until it is released.
    pub(super) fn read(&mut self) -> Option<&[u8]> {
        while self.has_next() {
            let place = page_size() + (self.next & self.mask);
            let header = self.entries.header(place).load(Ordering::Acquire);
            if header & BUSY != 0 {
                return None;
            }
            let len = (header & !DISCARDED) as usize;
            self.last = self.next;
            self.next = self.next.wrapping_add((HEADER + len).next_multiple_of(8));
            if header & DISCARDED == 0 {
                return Some(self.entries.bytes(place + HEADER, len));
            }
        }
        None
    }

    /// Releases every entry that was read. Returns whether no further entry is ready, so that the
    /// next one wakes the reader. If false, an entry has arrived in the meantime, possibly without
    /// a wake-up.
    pub(super) fn release(&mut self) -> bool {
        let position = self.released.position();
        position.store(self.next, Ordering::Release);
        // The kernel publishes an entry and then reads the position. The reader has to do this in
        // the opposite order, or both could miss the other's store.
        fence(Ordering::SeqCst);
        !self.has_next() || self.is_busy()
    }

    /// Releases every entry that was read except the last one, which suppresses wake-ups.
    pub(super) fn release_but_last(&mut self) {
        let position = self.released.position();
        position.store(self.last, Ordering::Release);
    }

    fn has_next(&mut self) -> bool {
        if self.next == self.end {
            self.end = self.entries.position().load(Ordering::Acquire);
        }
        self.next != self.end
    }

    /// Whether the next entry, which must exist, is being written.
    fn is_busy(&self) -> bool {
        let place = page_size() + (self.next & self.mask);
        self.entries.header(place).load(Ordering::Acquire) & BUSY != 0
    }
}

/// Memory shared with the kernel.
struct Pages {
    start: NonNull<c_void>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and to this value alone.
unsafe impl Send for Pages {}

impl Pages {
    fn map(ring: BorrowedFd<'_>, offset: usize, len: usize, access: ProtFlags) -> io::Result<Self> {
        // SAFETY: without an address the kernel chooses one, so no other mapping is replaced.
        let start = unsafe {
            mmap(
                null_mut(),
                len,
                access,
                MapFlags::SHARED,
                ring,
                offset as u64,
            )
        }?;
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    /// The first word.
    fn position(&self) -> &AtomicUsize {
        // SAFETY: the mapping begins with a page, is aligned to one, and lives as long as `self`.
        // The kernel accesses the word with atomic operations of this size only.
        unsafe { self.start.cast::<AtomicUsize>().as_ref() }
    }

    /// The first word of the header at `place`, which the kernel aligns to 8.
    fn header(&self, place: usize) -> &AtomicU32 {
        assert!(place.is_multiple_of(8) && place + HEADER <= self.len);
        // SAFETY: aligned and in the mapping, as asserted. The kernel accesses the word with atomic
        // operations of this size only.
        unsafe { self.start.byte_add(place).cast::<AtomicU32>().as_ref() }
    }

    /// `len` bytes at `place`, of an entry that is neither being written nor released.
    fn bytes(&self, place: usize, len: usize) -> &[u8] {
        assert!(place + len <= self.len);
        // SAFETY: in the mapping, as asserted. The kernel overwrites an entry only after its
        // release, which needs a mutable borrow of the `Reader`.
        unsafe { slice::from_raw_parts(self.start.byte_add(place).cast().as_ptr(), len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, and no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.len) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
