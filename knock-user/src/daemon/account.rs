//! User and group accounts of this host.

use std::fmt;

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    unistd::{Group, User},
};

/// The default user of the listener.
pub const DEFAULT_USER: &str = "knockd";

const NOBODY: &str = "nobody";

/// A user and group to run a process as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    name: String,
    /// The user id.
    pub uid: u32,
    /// The group id. There are no supplementary groups.
    pub gid: u32,
}

impl Account {
    /// The user of this name with the user's own group, if it exists.
    ///
    /// # Errors
    ///
    /// Returns an error if the user database cannot be read.
    pub fn find(name: &str) -> Result<Option<Self>, Errno> {
        let user = User::from_name(name)?;
        Ok(user.map(|user| Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        }))
    }

    /// The same user with the group of this name, if it exists.
    ///
    /// # Errors
    ///
    /// Returns an error if the group database cannot be read.
    pub fn in_group(self, name: &str) -> Result<Option<Self>, Errno> {
        let group = Group::from_name(name)?;
        Ok(group.map(|group| Self {
            gid: group.gid.as_raw(),
            ..self
        }))
    }
}

/// The account of the listener: `configured`, else [`DEFAULT_USER`], else `nobody`.
///
/// # Errors
///
/// Returns an error if none of them exists.
pub fn unprivileged(configured: Option<&Account>) -> Result<Account> {
    if let Some(account) = configured {
        return Ok(account.clone());
    }
    let found = match Account::find(DEFAULT_USER)? {
        Some(account) => Some(account),
        None => Account::find(NOBODY)?,
    };
    found.with_context(|| {
        format!("there is no user `{DEFAULT_USER}` for the listener: create it, or set `user`")
    })
}

/// A warning for the administrator about the account of the listener.
#[must_use]
pub fn warning(configured: Option<&Account>) -> Option<String> {
    match unprivileged(configured) {
        Ok(account) if account.name == NOBODY && configured.is_none() => Some(format!(
            "there is no user `{DEFAULT_USER}`: the listener runs as `{account}`, which other services may share (create the user, or set `user`)"
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
