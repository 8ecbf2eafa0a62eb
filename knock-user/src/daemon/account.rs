//! Users of this host.

use std::fmt;

use nix::{
    errno::Errno,
    unistd::{Group, User},
};

/// The user that the network-facing process runs as by default.
pub const DEFAULT_USER: &str = "knockd";

const NOBODY: &str = "nobody";

/// Somebody to run something as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the group, and of no other.
    pub gid: u32,
}

impl Account {
    /// The user of this name with his own group, if there is one.
    ///
    /// # Errors
    ///
    /// This host's users cannot be looked up.
    pub fn find(name: &str) -> Result<Option<Self>, Errno> {
        let user = User::from_name(name)?;
        Ok(user.map(|user| Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        }))
    }

    /// The same user in the group of this name, if there is one.
    ///
    /// # Errors
    ///
    /// This host's groups cannot be looked up.
    pub fn in_group(self, name: &str) -> Result<Option<Self>, Errno> {
        let group = Group::from_name(name)?;
        Ok(group.map(|group| Self {
            gid: group.gid.as_raw(),
            ..self
        }))
    }

    /// Who stands in for [`DEFAULT_USER`] where nobody has made it.
    ///
    /// # Errors
    ///
    /// This host's users cannot be looked up.
    pub fn nobody() -> Result<Option<Self>, Errno> {
        Self::find(NOBODY)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
