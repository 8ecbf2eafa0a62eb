//! Key files, passphrases and invitations, shared by the client and the daemon.

pub mod access;
pub mod fleet_key;
pub mod host;
pub mod invitation;
pub mod key_file;
pub mod passphrase;
pub mod secret_file;
