//! The replay store's directory and file, which the supervisor creates for the listener.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use knockd_config::Config;
use knockd_runtime::{account::give_to_group, clock::monotonic, durable::DurableFile};
use knockd_types::{
    account::Account,
    names::{KNOCKS_FILE, KNOCKS_FOLDER},
    replay_file,
};
use rustix::{
    fs::{FileType, Mode, OFlags, fchmod, fchown, fstat, open},
    process::geteuid,
};
use tracing::info;

use crate::reporter::Reporter;

const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The time between two attempts to create the file.
const RETRY: Duration = Duration::from_secs(5);

/// The directory of the replay store. A file that cannot be created, such as on a full disk, is
/// created as soon as it can be.
#[derive(Debug, Default)]
pub(crate) struct ReplayDir {
    missing: Option<Missing>,
}

/// A file that could not be created.
#[derive(Debug)]
struct Missing {
    dir: PathBuf,
    account: Option<Account>,
    /// The time of the next attempt, on the clock of [`monotonic`].
    retry_at: Duration,
}

impl ReplayDir {
    /// Opens the directory, if `config` requires it or may require it after a reload. Without it
    /// single-use knocks are refused.
    pub(crate) fn open(
        &mut self,
        config: &Config,
        account: Option<&Account>,
        reporter: &Reporter,
    ) -> Option<OwnedFd> {
        self.missing = None;
        let is_required = config.has_single_use_knocks();
        if !is_required && !config.state_dir.is_dir() {
            return None;
        }
        let problem = |error: &anyhow::Error| {
            if is_required {
                reporter.problem(format!(
                    "single-use knocks are refused, because there is no replay store: {error:#}"
                ));
            }
        };
        let dir = config.state_dir.join(KNOCKS_FOLDER);
        let directory = prepare(&config.state_dir, &dir, account)
            .inspect_err(problem)
            .ok()?;
        if let Err(error) = prepare_file(&dir, account) {
            problem(&error);
            self.missing = Some(Missing {
                dir,
                account: account.cloned(),
                retry_at: monotonic() + RETRY,
            });
        }
        Some(directory)
    }

    /// The time at which [`ReplayDir::retry`] has to be called, on the clock of [`monotonic`].
    pub(crate) fn retry_at(&self) -> Option<Duration> {
        Some(self.missing.as_ref()?.retry_at)
    }

    /// Tries again to create the file. The listener finds it when the next knock arrives.
    pub(crate) fn retry(&mut self) {
        let Some(missing) = &mut self.missing else {
            return;
        };
        match prepare_file(&missing.dir, missing.account.as_ref()) {
            Ok(()) => {
                info!("the replay store is created");
                self.missing = None;
            }
            Err(_) => missing.retry_at = monotonic() + RETRY,
        }
    }
}

/// Creates the directory `dir` in `state_dir`, and opens it. It belongs to this process.
///
/// # Errors
///
/// Returns an error if it cannot be created, or if something else is in its place.
fn prepare(state_dir: &Path, dir: &Path, account: Option<&Account>) -> Result<OwnedFd> {
    let describe = || dir.display().to_string();
    let make = |path: &Path, mode| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
    };
    make(state_dir, 0o700).with_context(describe)?;
    make(dir, 0o755).with_context(describe)?;
    let flags = FLAGS | OFlags::DIRECTORY;
    let directory = open(dir, flags, Mode::empty()).with_context(describe)?;
    if account.is_some() {
        own(&directory).with_context(describe)?;
        // The umask may be stricter.
        fchmod(&directory, Mode::from(0o755)).with_context(describe)?;
    }
    Ok(directory)
}

/// Creates the file in `dir`, if it does not exist. It belongs to this process. The group of `account`
/// can write it, but can neither replace it nor create another one.
///
/// # Errors
///
/// Returns an error if it cannot be created, or if something else is in its place.
fn prepare_file(dir: &Path, account: Option<&Account>) -> Result<()> {
    let path = dir.join(KNOCKS_FILE);
    let describe = || path.display().to_string();
    DurableFile::create(&path, replay_file::MAGIC, replay_file::CONTENT_LEN)
        .with_context(describe)?;
    let Some(account) = account else {
        return Ok(());
    };
    let file = open(&path, FLAGS | OFlags::NONBLOCK, Mode::empty()).with_context(describe)?;
    let stat = fstat(&file)?;
    // Another link may be a file of another program.
    ensure!(
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1,
        "{} is not a file of knockd: remove it",
        path.display()
    );
    own(&file).with_context(describe)?;
    give_to_group(&file, account.gid).with_context(describe)?;
    fchmod(&file, Mode::from(0o660)).with_context(describe)
}

/// Makes this process the owner of `file`.
fn own(file: &OwnedFd) -> rustix::io::Result<()> {
    let user = geteuid();
    if fstat(file)?.st_uid == user.as_raw() {
        return Ok(());
    }
    fchown(file, Some(user), None)
}
