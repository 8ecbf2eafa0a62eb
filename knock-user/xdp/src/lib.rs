//! The user-space side of the XDP program: loads and attaches it, pins the objects that outlive
//! the daemon, and writes the leases that it enforces.

mod attach;
mod error;
pub mod interfaces;
pub mod leases;
mod links;
pub mod pins;
pub mod program;
