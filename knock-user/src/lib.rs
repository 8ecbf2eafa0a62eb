//! The daemon `knockd` and the client `knock`.
//!
//! The client builds on every platform; the daemon needs Linux and the feature `daemon`. The
//! other modules are shared: secrets, their files, and the invitation that sets up a client.

pub mod client;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod invitation;
pub mod key_file;
pub mod passphrase;
pub mod secret_file;
