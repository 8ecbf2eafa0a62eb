//! What two sides of knockd must agree on.
//!
//! [`event`], [`settings`], [`counters`] and [`rate`] cross between the XDP program and the
//! daemon; [`window`] and `protocol` (feature `protocol`) between the client and the daemon.
//! Nothing here does I/O, allocates or needs `std`, so that every part can be compiled for
//! the kernel and tested without one.

#![no_std]

#[cfg(test)]
extern crate std;

pub mod counters;
pub mod event;
#[cfg(feature = "protocol")]
pub mod protocol;
pub mod rate;
pub mod settings;
pub mod window;
