//! One listener process: how it is started, and when the next one is.

use std::{
    env, fs,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use knockd_config::Config;
use knockd_ipc::{
    channel::{LISTENER_NAME, Received, SupervisorEnd},
    message::ListenerConfig,
};
use knockd_runtime::{account, clock::monotonic};
use knockd_types::{
    account::Account,
    names::{KNOCKS_FILE, KNOCKS_FOLDER},
    policy::{self, Policy},
};
use rustix::{
    fs::{FileType, Mode, OFlags, fchown, fstat, open, openat},
    process::{Uid, geteuid},
};
use tokio::{
    process::{Child as Process, Command},
    task::JoinHandle,
    time::timeout,
};
use tracing::warn;

use crate::catalog::Catalog;

/// The environment of this process that says how to write a log.
pub(crate) const LOG_ENVIRONMENT: [&str; 2] = ["NO_COLOR", "JOURNAL_STREAM"];

/// A listener that dies is started again after this time, and after twice as long each time
/// that it lives no longer than [`STEADY`].
pub(crate) const FIRST_DELAY: Duration = Duration::from_secs(1);

pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(60);

pub(crate) const STEADY: Duration = Duration::from_secs(60);

/// How long the listener may take to go when it is to.
pub(crate) const LEAVING_TIME: Duration = Duration::from_secs(2);

/// A listener that was started.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) process: Process,
    pub(crate) end: Arc<SupervisorEnd>,
    pub(crate) delivery: JoinHandle<()>,
    pub(crate) started: Duration,
    pub(crate) is_ready: bool,
    /// Whether it has answered since it was asked.
    pub(crate) answered: bool,
    /// Whether it was ended: what it has said before that counts no more.
    pub(crate) is_killed: bool,
}

/// What is known of listeners while there is none.
#[derive(Debug, Default)]
pub(crate) struct RestartBackoff {
    pub(crate) next: Option<Duration>,
    pub(crate) delay: Duration,
    /// Whether there was ever one that was ready.
    pub(crate) was_ready: bool,
}

impl RestartBackoff {
    /// When the next listener is to be started, on the clock of [`monotonic`].
    pub(crate) fn next_start(&self) -> Option<Duration> {
        self.next
    }

    /// Plans the next start, and says how long that takes.
    pub(crate) fn plan_next(&mut self, was_steady: bool) -> Duration {
        self.delay = if was_steady || self.delay.is_zero() {
            FIRST_DELAY
        } else {
            (self.delay * 2).min(LONGEST_DELAY)
        };
        self.next = Some(monotonic() + self.delay);
        self.delay
    }

    /// Whether there was ever a listener that was ready.
    pub(crate) fn was_ready(&self) -> bool {
        self.was_ready
    }
}

/// What the listener says next; nothing while there is none. Cancel-safe.
pub(crate) async fn recv(child: &Option<Child>) -> Result<Received> {
    let Some(child) = child else {
        return std::future::pending().await;
    };
    loop {
        let heard = child.end.recv().await?;
        // The socket yields yet what lay in it when the listener was cut off.
        if !child.is_killed || matches!(heard, Received::Closed) {
            return Ok(heard);
        }
    }
}

impl Child {
    /// Whether it has answered since it was asked last; it is taken to be asked again now.
    pub(crate) fn answers(&mut self) -> bool {
        std::mem::replace(&mut self.answered, false)
    }

    pub(crate) fn has_answered(&mut self) {
        self.answered = true;
    }

    /// Lets it go, and waits until it has gone.
    pub(crate) async fn stop(mut self) {
        // Both hold an end: it goes when it hears that there is none.
        self.delivery.abort();
        let _ = (&mut self.delivery).await;
        drop(self.end);
        if timeout(LEAVING_TIME, self.process.wait()).await.is_err() {
            warn!("the network-facing process does not go: it is killed");
            // Fails where this process may kill nobody; then it dies with this one.
            let _ = self.process.kill().await;
        }
    }
}

/// Who the listener runs as; nobody else than this process where that has no right to choose.
pub(crate) fn account(config: &Config) -> Result<Option<Account>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    if let Some(warning) = account::warning(config.user.as_ref()) {
        warn!("{warning}");
    }
    account::unprivileged(config.user.as_ref()).map(Some)
}

/// Starts a listener, and returns the end by which it is told what to do.
pub(crate) fn spawn(account: Option<&Account>) -> Result<(SupervisorEnd, Process)> {
    let (end, theirs) = SupervisorEnd::pair()?;
    // Not by its name: an upgrade may have put another program there.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(LISTENER_NAME)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .env_clear()
        .envs(
            LOG_ENVIRONMENT
                .iter()
                .filter_map(|name| Some((name, env::var_os(name)?))),
        )
        .current_dir("/")
        .kill_on_drop(true);
    if let Some(account) = account {
        // Which takes the other groups and every capability as well.
        command.uid(account.uid).gid(account.gid);
    }
    let process = command
        .spawn()
        .context("the network-facing process cannot be started")?;
    Ok((end, process))
}

/// Makes the folder of the listener's store in `state_dir`, for `account` alone.
///
/// # Errors
///
/// It cannot be made, or somebody has put something else there.
pub(crate) fn prepare_folder(state_dir: &Path, account: Option<&Account>) -> Result<OwnedFd> {
    let path = state_dir.join(KNOCKS_FOLDER);
    let describe = || path.display().to_string();
    let make = |path: &Path, mode| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
    };
    make(state_dir, 0o700).with_context(describe)?;
    // Its group is this process's, which may have no right to look into other users' folders.
    make(&path, 0o750).with_context(describe)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(&path, flags | OFlags::DIRECTORY, Mode::empty()).with_context(describe)?;
    if let Some(account) = account {
        give(&folder, account).with_context(describe)?;
        // The file in it may have been another user's, who could have put anything there.
        if let Ok(file) = openat(
            &folder,
            KNOCKS_FILE,
            flags | OFlags::NONBLOCK,
            Mode::empty(),
        ) {
            let stat = fstat(&file)?;
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if is_file && stat.st_nlink == 1 {
                give(&file, account).with_context(describe)?;
            }
        }
    }
    Ok(folder)
}

/// Makes `file` one of `account`'s. Its group stays.
pub(crate) fn give(file: &OwnedFd, account: &Account) -> rustix::io::Result<()> {
    if fstat(file)?.st_uid == account.uid {
        return Ok(());
    }
    fchown(file, Some(Uid::from_raw(account.uid)), None)
}

/// What the listener has to know of `config`.
pub(crate) fn terms(config: &Config, catalog: &Catalog) -> ListenerConfig {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let clients = config
        .clients
        .iter()
        .enumerate()
        .map(|(index, client)| policy::Client {
            number: number(catalog.configured_client(index)),
            name: client.name.clone(),
            secret: client.secret.clone(),
        });
    let doors = config
        .doors
        .iter()
        .enumerate()
        .map(|(index, door)| policy::Door {
            number: number(catalog.configured_door(index)),
            name: door.name.clone(),
            clients: door.clients.clone(),
            sequence: door.sequence.clone(),
            lease: door.lease,
            max_lease: door.max_lease,
            require_binding: door.require_binding,
        });
    let auth = Policy {
        clients: clients.collect(),
        doors: doors.collect(),
    };
    ListenerConfig::new(
        config.window,
        config.max_skew,
        config.sequence_timeout,
        config.limits.sources,
        auth,
    )
}
