//! File descriptors of BPF ring buffers in the async runtime.

use std::os::fd::AsRawFd;

use anyhow::{Context as _, Result};
use tokio::io::{Interest, unix::AsyncFd};

/// Waits for `ring`, a ring buffer's map or a reader of one, to become readable.
///
/// # Errors
///
/// Returns an error if the file descriptor cannot be registered with epoll(7).
///
/// # Safety
///
/// `ring` must own the file descriptor that it returns, never exchange it, and close it only
/// when dropped.
pub unsafe fn readable<T: AsRawFd>(ring: T) -> Result<AsyncFd<T>> {
    // SAFETY: the caller guarantees the conditions of `register_with_interest`.
    let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    registered
        .map_err(|error| error.into_parts().1)
        .context("the ring buffer cannot be registered with epoll")
}
