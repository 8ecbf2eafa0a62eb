//! Users of this host.

use anyhow::{Context as _, Result};
use knockd_types::account::Account;
use nix::{
    errno::Errno,
    unistd::{Group, User},
};

/// The user that the network-facing process runs as by default.
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
    let found = match find(DEFAULT_USER)? {
        Some(account) => Some(account),
        None => find(NOBODY)?,
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
