//! The first steps of every unprivileged process of the daemon.
//!
//! The supervisor starts it with its own user. If that is root, the process gives up its rights
//! itself: a process of another user that is executed could be traced by that user until it has
//! denied it. It holds a capability until then, and whoever traces a process must hold those too
//! (ptrace(2), "Ptrace access mode checking").

use std::{
    env,
    ffi::CStr,
    fs, io,
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};
use knockd_types::account::Account;
use nix::unistd::{Gid, Uid, mkdtemp, setgroups, setresgid, setresuid};
use rustix::{
    fs::{FileType, fstat},
    process::{
        DumpableBehavior, Signal, chdir, chroot, fchdir, set_dumpable_behavior,
        set_parent_process_death_signal,
    },
    thread::{CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_name},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::log;

/// The variable of the environment with the account that the process changes to: `UID:GID`.
const ACCOUNT: &str = "KNOCKD_ACCOUNT";

/// The name of the directory that becomes the root of a process, and is removed then.
const EMPTY: &str = "/tmp/knockd-XXXXXX";

static HAS_OWN_ROOT: AtomicBool = AtomicBool::new(false);

/// The variable that makes a process change to `account`.
#[must_use]
pub fn change_to(account: &Account) -> (&'static str, String) {
    (ACCOUNT, format!("{}:{}", account.uid, account.gid))
}

/// Whether the root of this process is a directory without other files than its own.
#[must_use]
pub fn has_own_root() -> bool {
    HAS_OWN_ROOT.load(Ordering::Relaxed)
}

/// Names this process, denies its inspection to all users except root, ends it with the supervisor,
/// and changes to the account and the root directory that the supervisor wants. If standard output is
/// a directory, that is the root directory. There must be no other thread.
///
/// # Errors
///
/// Returns an error if the kernel refuses one of the settings.
pub fn begin(name: &CStr) -> Result<()> {
    // The kernel names a process after the file that it executes, here /proc/self/exe.
    set_name(name)?;
    deny_inspection()?;
    log::connect();
    if let Ok(account) = env::var(ACCOUNT) {
        let ids = account.split_once(':').context(ACCOUNT)?;
        let (uid, gid) = (
            ids.0.parse().context(ACCOUNT)?,
            ids.1.parse().context(ACCOUNT)?,
        );
        // Without the capability it keeps that of the host. The sandbox says so if that matters.
        HAS_OWN_ROOT.store(enter_root().is_ok(), Ordering::Relaxed);
        change_account(Uid::from_raw(uid), Gid::from_raw(gid))
            .with_context(|| format!("cannot become user {uid}"))?;
    }
    Ok(())
}

fn deny_inspection() -> io::Result<()> {
    // No core file, and no access for other processes of the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Makes the directory of the files that this process needs its root, or an empty one. It takes
/// `CAP_SYS_CHROOT`.
fn enter_root() -> Result<()> {
    let stdout = io::stdout();
    let stat = fstat(stdout.as_fd())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        fchdir(stdout)?;
    } else {
        let empty = mkdtemp(EMPTY).context(EMPTY)?;
        chdir(&empty)?;
        // Nothing can be created in a directory that is removed.
        fs::remove_dir(&empty)?;
    }
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

fn change_account(uid: Uid, gid: Gid) -> Result<()> {
    // Another user becomes the owner of this process in between. It cannot be traced as long as it
    // has a capability that the other one lacks.
    set_keep_capabilities(true)?;
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // The change has reset both.
    deny_inspection()?;
    let none = CapabilitySet::empty();
    let nothing = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, nothing)?;
    set_keep_capabilities(false)?;
    Ok(())
}

/// Ignores the signals that stop the supervisor: a terminal sends them to its children too, which
/// have to stay until the doors are closed.
///
/// # Errors
///
/// Returns an error if a handler cannot be installed.
pub fn ignore_signals() -> io::Result<()> {
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        // Tokio leaves the handler installed for the life of the process.
        drop(signal(kind)?);
    }
    Ok(())
}
