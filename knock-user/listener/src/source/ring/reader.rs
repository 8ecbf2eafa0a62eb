//! The memory that a ring shares with its reader (`BPF_MAP_TYPE_RINGBUF` in the kernel's
//! Documentation/bpf/ringbuf.rst).
//!
//! An entry wakes whoever waits for the ring if all before it were released. aya's reader
//! releases each as soon as it is read; this one leaves that to its caller.

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

/// Before each entry: its length with two flags, and a word that is the kernel's own.
const HEADER: usize = 8;
/// The entry is being written (`BPF_RINGBUF_BUSY_BIT`).
const BUSY: u32 = 1 << 31;
/// Nobody is to read the entry (`BPF_RINGBUF_DISCARD_BIT`).
const DISCARDED: u32 = 1 << 30;

/// The one reader of a ring.
pub(super) struct Reader {
    /// A page, of which the reader writes the first word: the position up to which the
    /// entries are released.
    released: Pages,
    /// A page, of which the kernel writes the first word: the position up to which there are
    /// entries. Then the entries, twice, so that none is in two pieces.
    entries: Pages,
    /// The ring's size, a power of two, minus one.
    mask: usize,
    /// The position up to which there were entries when that was looked at last.
    end: usize,
    /// The position of the next entry.
    next: usize,
    /// The position of the last entry that was read, or that of the next one.
    last: usize,
}

impl Reader {
    /// A reader of the ring of `size` bytes behind `ring`.
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

    /// The next entry, which stays where it is until it is released.
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

    /// Gives the kernel back what was read. Whether that is all, so that the next entry wakes
    /// whoever waits for the ring; if not, one has come meanwhile, perhaps without a word.
    pub(super) fn release(&mut self) -> bool {
        let position = self.released.position();
        position.store(self.next, Ordering::Release);
        // The kernel makes an entry visible and then looks at the position; this has to be the
        // other way round, or both could miss what the other did.
        fence(Ordering::SeqCst);
        !self.has_next() || self.is_busy()
    }

    /// Gives the kernel back what was read, but for the last entry: while it is held, no
    /// entry wakes anybody.
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

    /// Whether the next entry, of which there is one, is being written.
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

// SAFETY: the memory belongs to the process, not to a thread; whoever has the value has it.
unsafe impl Send for Pages {}

impl Pages {
    fn map(ring: BorrowedFd<'_>, offset: usize, len: usize, access: ProtFlags) -> io::Result<Self> {
        // SAFETY: no address is asked for, so that nothing else is mapped over.
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
        // The kernel accesses the word with atomic operations of this size alone.
        unsafe { self.start.cast::<AtomicUsize>().as_ref() }
    }

    /// The first word of the header at `place`, which the kernel aligns to 8.
    fn header(&self, place: usize) -> &AtomicU32 {
        assert!(place.is_multiple_of(8) && place + HEADER <= self.len);
        // SAFETY: aligned and in the mapping, as was just seen; the kernel accesses the word
        // with atomic operations of this size alone.
        unsafe { self.start.byte_add(place).cast::<AtomicU32>().as_ref() }
    }

    /// `len` bytes at `place`, of an entry that is neither being written nor released.
    fn bytes(&self, place: usize, len: usize) -> &[u8] {
        assert!(place + len <= self.len);
        // SAFETY: in the mapping, as was just seen; the kernel writes an entry again only after
        // it was released, for which `Reader` has to be borrowed anew.
        unsafe { slice::from_raw_parts(self.start.byte_add(place).cast().as_ptr(), len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, and with `self` all references into it are gone.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.len) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
