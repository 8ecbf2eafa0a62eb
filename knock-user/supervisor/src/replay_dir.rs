//! The directory of the replay store, which the supervisor creates for the listener.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use knockd_config::Config;
use knockd_types::{
    account::Account,
    names::{KNOCKS_FILE, KNOCKS_FOLDER},
};
use rustix::{
    fs::{FileType, Mode, OFlags, fchown, fstat, open, openat},
    process::Uid,
};

use crate::reporter::Reporter;

/// The directory, if `config` requires it or may require it after a reload. Without it single-use
/// knocks are refused.
pub(crate) fn prepare_for(
    config: &Config,
    account: Option<&Account>,
    reporter: &Reporter,
) -> Option<OwnedFd> {
    let is_required = config.has_single_use_knocks();
    if !is_required && !config.state_dir.is_dir() {
        return None;
    }
    prepare(&config.state_dir, account)
        .inspect_err(|error| {
            if is_required {
                reporter.problem(format!(
                    "single-use knocks are refused, because there is no replay store: {error:#}"
                ));
            }
        })
        .ok()
}

/// Creates and opens the directory in `state_dir`. It belongs to `account`.
///
/// # Errors
///
/// Returns an error if it cannot be created, or if something else is in its place.
fn prepare(state_dir: &Path, account: Option<&Account>) -> Result<OwnedFd> {
    let path = state_dir.join(KNOCKS_FOLDER);
    let describe = || path.display().to_string();
    let make = |path: &Path, mode| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
    };
    make(state_dir, 0o700).with_context(describe)?;
    // The group stays that of this process, which may have no right to enter other users'
    // directories.
    make(&path, 0o750).with_context(describe)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = open(&path, flags | OFlags::DIRECTORY, Mode::empty()).with_context(describe)?;
    if let Some(account) = account {
        change_owner(&directory, account).with_context(describe)?;
        // The file may have belonged to another account, which could have replaced it by anything.
        if let Ok(file) = openat(
            &directory,
            KNOCKS_FILE,
            flags | OFlags::NONBLOCK,
            Mode::empty(),
        ) {
            let stat = fstat(&file)?;
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if is_file && stat.st_nlink == 1 {
                change_owner(&file, account).with_context(describe)?;
            }
        }
    }
    Ok(directory)
}

/// Changes the owner of `file`. Its group stays.
fn change_owner(file: &OwnedFd, account: &Account) -> rustix::io::Result<()> {
    if fstat(file)?.st_uid == account.uid {
        return Ok(());
    }
    fchown(file, Some(Uid::from_raw(account.uid)), None)
}
