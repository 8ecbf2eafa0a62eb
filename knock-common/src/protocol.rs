//! The knock protocol: how a door's sequence becomes 16 ports, and how 16 ports become a
//! door's sequence again (protocol.md).

pub mod block;
pub mod classic;
pub mod key;

#[cfg(test)]
mod vectors;
