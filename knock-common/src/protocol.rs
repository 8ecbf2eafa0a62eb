//! The knock protocol, version 2 (docs/protocol.md): how a client encodes a request, and how the
//! daemon decodes it.

pub mod block;
#[cfg(feature = "protocol")]
pub mod classic;
#[cfg(feature = "protocol")]
pub mod datagram;
pub mod door;
pub mod identity;
pub mod lease;
pub mod stale;
pub mod syn;
pub mod tile;

#[cfg(test)]
#[cfg(feature = "protocol")]
mod vectors;
