//! Data that knockd's crates share.
//!
//! Plain values and their textual forms: no I/O, no async runtime, no BPF. A type that only one
//! crate needs belongs to that crate.

pub mod account;
pub mod command;
pub mod control;
pub mod counters;
pub mod event;
pub mod interface;
pub mod names;
pub mod policy;
pub mod reason;
pub mod rules;
pub mod status;
pub mod syn;
