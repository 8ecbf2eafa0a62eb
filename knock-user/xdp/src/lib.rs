//! The XDP program in the kernel, seen from the supervisor: loading and attaching it, pinning
//! what outlives the daemon, and the leases that it enforces.

mod attach;
mod error;
pub mod interfaces;
pub mod leases;
mod links;
pub mod pins;
pub mod program;
