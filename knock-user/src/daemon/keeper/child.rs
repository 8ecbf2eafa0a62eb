//! The listener, as the keeper sees it: started without rights, started again when it dies,
//! and ended when it says what it may not.

use std::{
    env, fmt, fs,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    fs::{FileType, Mode, OFlags, fchown, fstat, open, openat},
    process::{Uid, geteuid},
};
use tokio::{
    process::{Child as Process, Command},
    task::JoinHandle,
    time::timeout,
};
use tracing::{error, info, warn};

use super::{Keeper, Sockets, Source};
use crate::daemon::{
    account::{self, Account},
    auth,
    clock::monotonic,
    config::Config,
    inner::{
        Heard, KeeperEnd,
        told::{Beginning, Terms, Told},
    },
    listener, log,
    store::knocks,
};

/// The environment of this process that says how to write a log.
const LOG_ENVIRONMENT: [&str; 2] = ["NO_COLOR", "JOURNAL_STREAM"];

/// A listener that dies is started again after this time, and after twice as long each time
/// that it lives no longer than [`STEADY`].
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(60);

/// How long the listener may take to go when it is to.
const LEAVING_TIME: Duration = Duration::from_secs(2);

/// A listener that was started.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    end: Arc<KeeperEnd>,
    delivery: JoinHandle<()>,
    started: Duration,
    is_ready: bool,
    /// Whether it has answered since it was asked.
    answered: bool,
    /// Whether it was ended: what it has said before that counts no more.
    is_dismissed: bool,
}

/// What is known of listeners while there is none.
#[derive(Debug, Default)]
pub(super) struct Unstarted {
    next: Option<Duration>,
    delay: Duration,
    /// Whether there was ever one that was ready.
    was_ready: bool,
}

impl Unstarted {
    /// When the next listener is to be started, on the clock of [`monotonic`].
    pub(super) fn next_start(&self) -> Option<Duration> {
        self.next
    }

    /// Plans the next start, and says how long that takes.
    fn plan_next(&mut self, was_steady: bool) -> Duration {
        self.delay = if was_steady || self.delay.is_zero() {
            FIRST_DELAY
        } else {
            (self.delay * 2).min(LONGEST_DELAY)
        };
        self.next = Some(monotonic() + self.delay);
        self.delay
    }

    /// Whether there was ever a listener that was ready.
    pub(super) fn was_ready(&self) -> bool {
        self.was_ready
    }
}

/// What the listener says next; nothing while there is none. Cancel-safe.
pub(super) async fn hear(child: &Option<Child>) -> Result<Heard> {
    let Some(child) = child else {
        return std::future::pending().await;
    };
    loop {
        let heard = child.end.hear().await?;
        // The socket yields yet what lay in it when the listener was cut off.
        if !child.is_dismissed || matches!(heard, Heard::Gone) {
            return Ok(heard);
        }
    }
}

impl Child {
    /// Whether it has answered since it was asked last; it is taken to be asked again now.
    pub(super) fn answers(&mut self) -> bool {
        std::mem::replace(&mut self.answered, false)
    }

    pub(super) fn has_answered(&mut self) {
        self.answered = true;
    }

    /// Lets it go, and waits until it has gone.
    pub(super) async fn dismiss(mut self) {
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

impl Keeper {
    /// Starts the listener. If there was one before, and this one cannot be started, it is tried
    /// again later.
    ///
    /// # Errors
    ///
    /// The first one cannot be started.
    pub(super) fn start_listener(&mut self, sockets: &Sockets) -> Result<()> {
        self.unstarted.next = None;
        match self.try_to_start(sockets) {
            Err(error) if self.unstarted.was_ready => {
                let delay = self.unstarted.plan_next(false);
                error!("{error:#}; tried again in {} s", delay.as_secs());
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn try_to_start(&mut self, sockets: &Sockets) -> Result<()> {
        let account = account(&self.config)?;
        let folder = self.store_folder(account.as_ref());
        self.can_remember = folder.is_some();
        let (end, process) = spawn(account.as_ref())?;
        let end = Arc::new(end);
        let messages = self.outbox.open();
        let mut files = vec![sockets.control.as_fd().try_clone_to_owned()?];
        files.push(match &self.source {
            Source::Xdp(xdp) => xdp.events()?,
            Source::Lines(lines, _) => lines.try_clone()?,
            Source::Ended => fs::File::open("/dev/null")?.into(),
        });
        let beginning = Beginning {
            log: log::chosen(),
            terms: terms(&self.config, &self.catalog),
            reads_lines: !matches!(self.source, Source::Xdp(_)),
            store: folder
                .is_some()
                .then(|| self.config.state_dir.join(knocks::FOLDER)),
            metrics: sockets.metrics.is_some(),
            owner: geteuid().as_raw(),
            started: self.started,
        };
        files.extend(folder);
        if let Some(metrics) = &sockets.metrics {
            files.push(metrics.try_clone()?);
        }
        self.outbox
            .tell_with(Told::Begin(Box::new(beginning)), files)?;
        self.child = Some(Child {
            process,
            delivery: tokio::spawn(messages.deliver(Arc::clone(&end))),
            end,
            started: monotonic(),
            is_ready: false,
            answered: true,
            is_dismissed: false,
        });
        Ok(())
    }

    /// Hears that the listener reads what comes.
    pub(super) fn listener_is_ready(&mut self) {
        if let Some(child) = &mut self.child {
            child.is_ready = true;
        }
        let listening = self.listening();
        if self.unstarted.was_ready {
            info!("the network-facing process listens again on {listening}");
        } else {
            info!("listening on {listening}");
            self.service_manager.ready(&listening);
        }
        self.unstarted.was_ready = true;
        // Whoever followed has to begin anew.
        self.set_kernel_log(false);
    }

    /// Tells the listener something that it has to take.
    pub(super) fn tell(&mut self, told: Told) {
        if let Err(stuck) = self.outbox.tell(told) {
            self.dismiss(&stuck);
        }
    }

    /// Ends a listener that does what it may not. [`Heard::Gone`] comes of that.
    pub(super) fn dismiss(&mut self, why: &dyn fmt::Display) {
        let Some(child) = self.child.as_mut().filter(|child| !child.is_dismissed) else {
            return;
        };
        child.is_dismissed = true;
        error!("the network-facing process is ended: {why}");
        // Where it must not be killed it dies by what it is cut off from.
        let _ = child.process.start_kill();
        child.end.cut_off();
    }

    /// Hears that the listener has gone, and plans the next.
    ///
    /// # Errors
    ///
    /// There never was one that was ready: its reason is in the log.
    pub(super) async fn bury(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.delivery.abort();
        let ended = match timeout(LEAVING_TIME, child.process.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it hangs".into(),
        };
        if !child.is_ready && !self.unstarted.was_ready {
            bail!("the network-facing process did not start: {ended}");
        }
        let was_steady = monotonic() >= child.started + STEADY;
        let delay = self.unstarted.plan_next(was_steady);
        error!(
            "the network-facing process has ended ({ended}); the next is started in {} s, open doors stay as they are",
            delay.as_secs()
        );
        self.counters.listener_restarts += 1;
        Ok(())
    }

    /// The folder of the listener's store, if it needs one, or may need one after a reload.
    /// Without it sealed knocks are refused.
    fn store_folder(&self, account: Option<&Account>) -> Option<OwnedFd> {
        let needed = self.config.has_sealed_clients();
        if !needed && !self.config.state_dir.is_dir() {
            return None;
        }
        prepare_folder(&self.config.state_dir, account)
            .inspect_err(|error| {
                if needed {
                    self.trouble(format!(
                        "sealed knocks are refused, since they cannot be remembered: {error:#}"
                    ));
                }
            })
            .ok()
    }
}

/// Who the listener runs as; nobody else than this process where that has no right to choose.
fn account(config: &Config) -> Result<Option<Account>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    if let Some(warning) = account::warning(config.user.as_ref()) {
        warn!("{warning}");
    }
    account::unprivileged(config.user.as_ref()).map(Some)
}

/// Starts a listener, and returns the end by which it is told what to do.
fn spawn(account: Option<&Account>) -> Result<(KeeperEnd, Process)> {
    let (end, theirs) = KeeperEnd::pair()?;
    // Not by its name: an upgrade may have put another program there.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(listener::NAME)
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
fn prepare_folder(state_dir: &Path, account: Option<&Account>) -> Result<OwnedFd> {
    let path = state_dir.join(knocks::FOLDER);
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
            knocks::FILE,
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
fn give(file: &OwnedFd, account: &Account) -> rustix::io::Result<()> {
    if fstat(file)?.st_uid == account.uid {
        return Ok(());
    }
    fchown(file, Some(Uid::from_raw(account.uid)), None)
}

/// What the listener has to know of `config`.
pub(super) fn terms(config: &Config, catalog: &super::Catalog) -> Terms {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let clients = config
        .clients
        .iter()
        .enumerate()
        .map(|(index, client)| auth::Client {
            number: number(catalog.configured_client(index)),
            name: client.name.clone(),
            secret: client.secret.clone(),
        });
    let doors = config
        .doors
        .iter()
        .enumerate()
        .map(|(index, door)| auth::Door {
            number: number(catalog.configured_door(index)),
            name: door.name.clone(),
            clients: door.clients.clone(),
            sequence: door.sequence.clone(),
            lease: door.lease,
            max_lease: door.max_lease,
            require_binding: door.require_binding,
        });
    let auth = auth::Terms {
        clients: clients.collect(),
        doors: doors.collect(),
    };
    Terms::new(
        config.window,
        config.max_skew,
        config.sequence_timeout,
        config.limits.sources,
        auth,
    )
}
