//! Bytes that end at the end of a readable page.

use std::{ptr, slice};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

/// The size of a page, or a multiple of it, on every architecture.
const PAGE: usize = 64 * 1024;

/// A page with an inaccessible one behind it: a read beyond the end ends the process.
#[derive(Debug)]
pub(crate) struct Guarded {
    page: &'static mut [u8],
}

impl Guarded {
    /// A new page, which is never returned to the system.
    pub(crate) fn new() -> Self {
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses replaces nothing.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), 2 * PAGE, flags, MapFlags::PRIVATE) };
        let start = start.expect("there is memory for two pages").cast::<u8>();
        // SAFETY: the second page belongs to the mapping, and nothing refers to it.
        unsafe { mprotect(start.add(PAGE).cast(), PAGE, MprotectFlags::empty()) }
            .expect("the page exists");
        // SAFETY: the first page is zeroed memory of this mapping, which stays, and nothing else
        // refers to it.
        let page = unsafe { slice::from_raw_parts_mut(start, PAGE) };
        Self { page }
    }

    /// A copy of `bytes` at an even address. It ends with the page, or one byte before.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> &[u8] {
        let start = PAGE - bytes.len().next_multiple_of(2);
        let copy = &mut self.page[start..start + bytes.len()];
        copy.copy_from_slice(bytes);
        copy
    }
}
