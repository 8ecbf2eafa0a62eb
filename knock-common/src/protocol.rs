//! The knock protocol: how a door's sequence or a request becomes 16 ports, and how 16 ports
//! become it again (README.md).

pub mod block;
pub mod classic;
pub mod key;
pub mod sealed;

#[cfg(test)]
mod vectors;
