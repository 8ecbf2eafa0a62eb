//! A user and group to run a process as.

use std::fmt;

/// A user of this host, and the group of processes that run as this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The group id. There are no supplementary groups.
    pub gid: u32,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
