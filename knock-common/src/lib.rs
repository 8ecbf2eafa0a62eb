//! Definitions that both sides of an interface of knockd share.
//!
//! [`address`], [`datagram`], [`event`], [`settings`], [`counters`], [`gate`] and [`rate`] are shared
//! by the XDP program and the daemon; [`datagram`], [`window`], [`legible`] and `protocol` (feature
//! `protocol`) by the client and the daemon.
//!
//! This crate does no I/O and needs no `std`; only the feature `passphrase` allocates. So every
//! part can be tested without a kernel, and the shared types compile for the BPF target.

#![no_std]

#[cfg(feature = "passphrase")]
extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod address;
pub mod counters;
pub mod datagram;
pub mod event;
pub mod gate;
pub mod legible;
#[cfg(feature = "protocol")]
pub mod protocol;
pub mod rate;
pub mod settings;
pub mod window;
