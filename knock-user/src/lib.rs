//! The daemon `knockd` and the client `knock`.
//!
//! The client builds everywhere; the daemon needs Linux and the feature `daemon`.

pub mod client;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod passphrase;
