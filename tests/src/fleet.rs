//! A fleet in namespaces: its networks, and three nodes on three servers of NATS.

pub mod files;
pub mod net;
pub mod stage;
