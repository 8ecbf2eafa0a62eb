//! Data that knockd's crates share.
//!
//! Plain values with their text and serialized forms. This crate has no I/O, no async runtime and
//! no BPF. A type that only one crate needs belongs to that crate.

pub mod account;
pub mod command;
pub mod conditions;
pub mod control;
pub mod counters;
pub mod datagram;
pub mod event;
pub mod fleet;
pub mod history;
pub mod interface;
pub mod names;
pub mod policy;
pub mod reason;
pub mod replay_file;
pub mod rules;
pub mod status;
pub mod syn;
pub mod utc;
