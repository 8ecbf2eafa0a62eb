//! What two sides of knockd must agree on.
//!
//! [`address`], [`event`], [`settings`], [`counters`], [`gate`] and [`rate`] cross between the XDP program and the
//! daemon; [`window`] and `protocol` (feature `protocol`) between the client and the daemon.
//! Nothing here does I/O or needs `std`, and only the feature `passphrase` allocates, so that
//! every part can be tested without a kernel, and the kernel's parts compiled for it.

#![no_std]

#[cfg(feature = "passphrase")]
extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod address;
pub mod counters;
pub mod event;
pub mod gate;
#[cfg(feature = "protocol")]
pub mod protocol;
pub mod rate;
pub mod settings;
pub mod window;
