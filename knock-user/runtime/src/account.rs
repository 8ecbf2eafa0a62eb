//! User and group accounts of this host.

use std::{
    fs,
    os::{fd::AsFd, unix::fs::MetadataExt as _},
};

use anyhow::{Context as _, Result, bail, ensure};
use knockd_types::account::Account;
use nix::{
    errno::Errno,
    unistd::{Gid, Group, User, fchown, setfsgid},
};

/// The default user of the listener.
pub const DEFAULT_USER: &str = "knockd";

const NOBODY: &str = "nobody";

/// The user that the kernel shows in place of one that it cannot show, which is also `nobody`.
const OVERFLOW_UID: u32 = 65534;

const PASSWD: &str = "/etc/passwd";

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

/// Gives `file`, which belongs to this process, to the group `gid`. That takes `CAP_SETGID` and not
/// `CAP_CHOWN`: the owner of a file may give it to a group of its own.
///
/// # Errors
///
/// Returns an error if the kernel refuses it.
pub fn give_to_group(file: impl AsFd, gid: u32) -> Result<(), Errno> {
    let own = setfsgid(Gid::from_raw(gid));
    let given = fchown(file, None, Some(Gid::from_raw(gid)));
    setfsgid(own);
    given
}

/// The account of the unprivileged processes: `configured`, else [`DEFAULT_USER`].
///
/// # Errors
///
/// Returns an error if it does not exist, or has another name, or is `nobody`.
pub fn unprivileged(configured: Option<&Account>) -> Result<Account> {
    let account = match configured {
        Some(account) => account.clone(),
        None => find(DEFAULT_USER)?.with_context(|| {
            format!(
                "there is no user `{DEFAULT_USER}` for the unprivileged processes: create it (useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {DEFAULT_USER}), or set `user` to one that nothing else uses"
            )
        })?,
    };
    require_unshared(&account)?;
    Ok(account)
}

fn require_unshared(account: &Account) -> Result<()> {
    let Account { name, uid, .. } = account;
    ensure!(
        name != NOBODY && *uid != OVERFLOW_UID,
        "user `{account}` may be shared by other services, which could end the processes of knockd: set `user` to one that nothing else uses"
    );
    // Users of a directory service are not listed there.
    let users = fs::read_to_string(PASSWD).unwrap_or_default();
    if let Some(other) = other_name(&users, name, *uid) {
        bail!(
            "user `{account}` is the same as user `{other}`: set `user` to one that nothing else uses"
        );
    }
    Ok(())
}

/// Checks that no other process runs as the user of the unprivileged processes: it could end them.
///
/// # Errors
///
/// Returns an error that names the process.
pub fn require_unused(account: &Account) -> Result<()> {
    match process_of(account.uid) {
        None => Ok(()),
        Some(process) => bail!(
            "process {process} also runs as user `{account}`: set `user` to one that nothing else uses"
        ),
    }
}

/// Another name of the user `uid` in the lines of `users`, which have the form of passwd(5).
fn other_name<'u>(users: &'u str, name: &str, uid: u32) -> Option<&'u str> {
    let entries = users.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name, uid.parse::<u32>().ok()?))
    });
    let mut others = entries.filter(|(other, other_uid)| *other_uid == uid && *other != name);
    others.next().map(|(other, _)| other)
}

/// A process of the user `uid`, as far as this one can see it. The files of knockd's processes in
/// `/proc` belong to root, because they cannot be inspected.
fn process_of(uid: u32) -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?;
    let mut found = processes.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let is_process = name.bytes().all(|byte| byte.is_ascii_digit());
        let status = entry.path().join("status");
        (is_process && fs::metadata(status).ok()?.uid() == uid).then_some(name)
    });
    found.next()
}

/// What the administrator should know about the account of the unprivileged processes.
#[must_use]
pub fn warning(configured: Option<&Account>) -> Option<String> {
    let checked = unprivileged(configured).and_then(|account| require_unused(&account));
    Some(format!("{:#}", checked.err()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_two_names_is_found() {
        let users = "root:x:0:0:root:/root:/bin/sh\nknockd:x:990:990::/:/bin/false\nnot a line\n";
        assert_eq!(other_name(users, "knockd", 990), None);
        assert_eq!(other_name(users, "other", 990), Some("knockd"));
        assert_eq!(other_name("", "knockd", 990), None);
    }

    #[test]
    fn a_shared_user_is_refused() {
        let nobody = find(NOBODY).unwrap().unwrap();
        let error = unprivileged(Some(&nobody)).unwrap_err().to_string();
        assert!(error.contains("may be shared"), "{error}");
        let own = rustix::process::geteuid().as_raw();
        // A test can be inspected, so it owns itself.
        assert!(process_of(own).is_some());
        assert_eq!(process_of(u32::MAX - 1), None);
    }
}
