//! The knock protocol, version 2 (docs/protocol.md): how a client encodes a request, and how the
//! daemon decodes it.

pub mod block;
pub mod classic;
pub mod datagram;
pub mod door;
pub mod identity;
pub mod lease;
pub mod stale;
pub mod syn;
pub mod tile;

#[cfg(test)]
mod vectors;
