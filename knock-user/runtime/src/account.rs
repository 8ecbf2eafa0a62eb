//! User and group accounts of this host.

use anyhow::{Context as _, Result};
use knockd_types::account::Account;
use nix::{
    errno::Errno,
    unistd::{Group, User},
};

/// The default user of the listener.
pub const DEFAULT_USER: &str = "knockd";

const NOBODY: &str = "nobody";

/// The user `name` with its own group; `None` if there is no such user.
///
/// # Errors
///
/// Returns an error if the user database cannot be read.
pub fn find(name: &str) -> Result<Option<Account>, Errno> {
    let user = User::from_name(name)?;
    Ok(user.map(|user| Account {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
    }))
}

/// `account` with the group `name` in place of its own; `None` if there is no such group.
///
/// # Errors
///
/// Returns an error if the group database cannot be read.
pub fn in_group(account: Account, name: &str) -> Result<Option<Account>, Errno> {
    let group = Group::from_name(name)?;
    Ok(group.map(|group| Account {
        gid: group.gid.as_raw(),
        ..account
    }))
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
    let found = match find(DEFAULT_USER)? {
        Some(account) => Some(account),
        None => find(NOBODY)?,
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
