//! Users of this host.

use std::fmt;

use anyhow::{Context as _, Result};
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
}

/// Who the network-facing process is to run as: `configured`, or else [`DEFAULT_USER`], or else
/// nobody.
///
/// # Errors
///
/// There is none of them.
pub fn unprivileged(configured: Option<&Account>) -> Result<Account> {
    if let Some(account) = configured {
        return Ok(account.clone());
    }
    let found = match Account::find(DEFAULT_USER)? {
        Some(account) => Some(account),
        None => Account::find(NOBODY)?,
    };
    found.with_context(|| {
        format!("there is no user `{DEFAULT_USER}` for the network-facing process: make one, or set `user`")
    })
}

/// What the administrator has to know of who the network-facing process is to run as.
#[must_use]
pub fn warning(configured: Option<&Account>) -> Option<String> {
    match unprivileged(configured) {
        Ok(account) if account.name == NOBODY && configured.is_none() => Some(format!(
            "there is no user `{DEFAULT_USER}`: the network-facing process runs as `{account}`, who may have other processes"
        )),
        Ok(_) => None,
        Err(error) => Some(format!("{error:#}")),
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
