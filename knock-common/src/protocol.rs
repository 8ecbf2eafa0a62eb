//! The knock protocol (docs/protocol.md): how a client encodes a door's sequence or a request as
//! 16 ports, and how the daemon decodes them.

pub mod block;
pub mod classic;
pub mod key;
pub mod sealed;

#[cfg(test)]
mod vectors;
