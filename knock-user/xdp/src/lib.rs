//! The user-space side of the XDP program: loads and attaches it, pins the objects that outlive
//! the daemon, and writes the leases that it enforces.

// They panic if the output is full or closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod addresses;
pub mod advice;
mod attach;
mod defunct;
mod drivers;
mod error;
mod ethtool;
mod follow;
pub mod interfaces;
pub mod leases;
mod links;
mod netlink;
pub mod pins;
mod plan;
pub mod program;
mod refusals;
mod reserve;
mod tc;
mod traffic;
