//! The memory that a ring buffer shares with its reader (`BPF_MAP_TYPE_RINGBUF`,
//! Documentation/bpf/ringbuf.rst of the kernel).

use std::{
    ffi::c_void,
    io,
    os::fd::BorrowedFd,
    ptr::{NonNull, null_mut},
    slice,
    sync::atomic::{AtomicU32, AtomicUsize},
};

use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    param::page_size,
};

use super::positions::{HEADER, Positions, Shared};

/// The only reader of a ring buffer.
pub(super) struct Reader {
    memory: Memory,
    positions: Positions,
}

impl Reader {
    /// A reader of `ring`, which has `size` bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if the ring cannot be mapped.
    pub(super) fn new(ring: BorrowedFd<'_>, size: usize) -> io::Result<Self> {
        let page = page_size();
        let memory = Memory {
            released: Pages::map(ring, 0, page, ProtFlags::READ | ProtFlags::WRITE)?,
            entries: Pages::map(ring, page, page + 2 * size, ProtFlags::READ)?,
            mask: size - 1,
        };
        Ok(Self {
            positions: Positions::new(&memory),
            memory,
        })
    }

    /// The next entry, which stays valid until it is released.
    pub(super) fn read(&mut self) -> Option<&[u8]> {
        let entry = self.positions.read(&self.memory)?;
        let place = self.memory.place(entry.position) + HEADER;
        Some(self.memory.entries.bytes(place, entry.len))
    }

    /// Releases every entry that was read. Returns whether no further entry is ready, so that the
    /// next one wakes the reader. If false, an entry has arrived in the meantime, possibly without
    /// a wake-up.
    pub(super) fn release(&mut self) -> bool {
        self.positions.release(&self.memory)
    }

    /// Releases every entry that was read except the last one, which suppresses wake-ups.
    pub(super) fn release_but_last(&mut self) {
        self.positions.release_but_last(&self.memory);
    }
}

/// What the kernel and the reader share.
struct Memory {
    /// A page whose first word the reader writes.
    released: Pages,
    /// A page whose first word the kernel writes. Then the entries, mapped twice in a row, so that each
    /// of them is contiguous.
    entries: Pages,
    /// The ring's size, a power of two, minus one.
    mask: usize,
}

impl Memory {
    /// Where the entry at `position` is in `entries`.
    fn place(&self, position: usize) -> usize {
        page_size() + (position & self.mask)
    }
}

impl Shared for Memory {
    fn released(&self) -> &AtomicUsize {
        self.released.position()
    }

    fn written(&self) -> &AtomicUsize {
        self.entries.position()
    }

    fn header(&self, position: usize) -> &AtomicU32 {
        self.entries.header(self.place(position))
    }
}

/// A mapping of the ring buffer.
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
