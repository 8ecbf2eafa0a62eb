//! A record of the lease journal.

use std::net::IpAddr;

/// A door that is open for a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRecord {
    /// The door's name.
    pub door: String,
    /// The source address that the door is open for.
    pub source: IpAddr,
    /// The name of the client that knocked.
    pub client: String,
    /// The lease in seconds.
    pub seconds: u64,
    /// The end of the lease in Unix milliseconds.
    pub until: u64,
    /// Whether `run` has succeeded. If not, the next knock runs it.
    pub opened: bool,
}
