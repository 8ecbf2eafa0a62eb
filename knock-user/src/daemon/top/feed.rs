//! What the control socket says: an answer to `status` each second, and the verdicts as they come.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::mpsc,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use super::view::Update;
use crate::daemon::{
    control::{Status, client::unanswered},
    report::Notice,
};

/// Updates that wait to be shown. Beyond that the daemon is not read from, which then leaves
/// notices out and says so.
pub const MAX_LAG: usize = 256;

/// How often the daemon is asked, and looked for again when it has gone.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest line that is read, in bytes: a status with tens of thousands of doors.
const MAX_LINE: u64 = 16 << 20;

/// Asks for the daemon's status.
///
/// # Errors
///
/// No daemon answers at `socket`, or not in time, or something that is no status.
pub async fn status(socket: &Path) -> Result<Status> {
    let answer = async {
        let mut stream = ask(socket, "status").await?;
        read(&mut stream).await
    };
    timeout(PATIENCE, answer)
        .await
        .context("knockd does not answer")?
}

/// What becomes of knocks, told by the daemon as it happens.
#[derive(Debug)]
pub struct Verdicts(BufReader<UnixStream>);

impl Verdicts {
    /// Follows from now on.
    ///
    /// # Errors
    ///
    /// No daemon answers at `socket`.
    pub async fn connect(socket: &Path) -> Result<Self> {
        Ok(Self(ask(socket, "verdicts").await?))
    }

    /// The next notice. Dropped half-way it may have swallowed a part of one.
    ///
    /// # Errors
    ///
    /// The daemon has stopped, or says something that is no notice.
    pub async fn next(&mut self) -> Result<Notice> {
        read(&mut self.0).await
    }
}

async fn ask(socket: &Path, request: &str) -> Result<BufReader<UnixStream>> {
    let stream = UnixStream::connect(socket).await;
    let mut stream = stream.with_context(|| unanswered(socket))?;
    stream.write_all(format!("{request}\n").as_bytes()).await?;
    Ok(BufReader::new(stream))
}

async fn read<T: DeserializeOwned>(stream: &mut BufReader<UnixStream>) -> Result<T> {
    let mut line = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof))
            .context("knockd stopped before it answered");
    }
    serde_json::from_slice(&line)
        .context("knockd's answer is not understood: is it of another version?")
}

/// Asks and follows for as long as it lives.
#[derive(Debug)]
pub struct Feed([JoinHandle<()>; 2]);

impl Feed {
    /// Tells `updates` what the daemon at `socket` says, also after it was started again.
    #[must_use]
    pub fn start(socket: &Path, updates: &mpsc::Sender<Update>) -> Self {
        Self([
            tokio::spawn(poll(socket.to_owned(), updates.clone())),
            tokio::spawn(follow(socket.to_owned(), updates.clone())),
        ])
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Ends when nobody wants updates any more.
async fn poll(socket: PathBuf, updates: mpsc::Sender<Update>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let update = match status(&socket).await {
            Ok(status) => Update::Status(status.into()),
            Err(error) => Update::Silent(why(&error)),
        };
        if updates.send(update).await.is_err() {
            return;
        }
    }
}

/// What follows "knockd".
fn why(error: &anyhow::Error) -> String {
    let kind = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    match kind {
        Some(
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof,
        ) => "has stopped".into(),
        Some(kind) => format!("cannot be asked ({kind})"),
        None if error.is::<serde_json::Error>() => "is of another version".into(),
        None => "does not answer".into(),
    }
}

/// Ends like [`poll`].
async fn follow(socket: PathBuf, updates: mpsc::Sender<Update>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Err(_) = follow_once(&socket, &updates).await else {
            return;
        };
        if updates.send(Update::Deaf).await.is_err() {
            return;
        }
    }
}

/// Fails when the daemon has gone; `Ok` when nobody wants updates any more.
async fn follow_once(socket: &Path, updates: &mpsc::Sender<Update>) -> Result<()> {
    let mut verdicts = Verdicts::connect(socket).await?;
    loop {
        let notice = verdicts.next().await?;
        if updates.send(Update::Notice(notice)).await.is_err() {
            return Ok(());
        }
    }
}
