//! Reads from the control socket: the status once per second, and verdicts as they occur.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use knockd_types::{event::Notice, status::Status};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{control::unanswered, top::view::Update};

/// The capacity of the update queue. When it is full the socket is not read, and the daemon drops
/// notices and reports their number.
pub const MAX_LAG: usize = 256;

/// The polling interval, also for reconnecting.
const INTERVAL: Duration = Duration::from_secs(1);

/// The time limit for an answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The longest line that is read, in bytes. Enough for a status with tens of thousands of doors.
const MAX_LINE: u64 = 16 << 20;

/// Requests the daemon's status.
///
/// # Errors
///
/// Returns an error if no daemon answers at `socket` in time, or the answer is not a status.
pub async fn status(socket: &Path) -> Result<Status> {
    let answer = async {
        let mut stream = ask(socket, "status").await?;
        read(&mut stream).await
    };
    timeout(TIMEOUT, answer)
        .await
        .context("knockd does not answer")?
}

/// A subscription to the daemon's verdicts.
#[derive(Debug)]
pub struct Verdicts(BufReader<UnixStream>);

impl Verdicts {
    /// Subscribes to verdicts.
    ///
    /// # Errors
    ///
    /// Returns an error if no daemon answers at `socket`.
    pub async fn connect(socket: &Path) -> Result<Self> {
        Ok(Self(ask(socket, "verdicts").await?))
    }

    /// The next notice. Not cancel-safe: dropping the future may lose a part of a notice.
    ///
    /// # Errors
    ///
    /// Returns an error if the daemon has stopped, or sends something other than a notice.
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
    let is_whole = line.ends_with(b"\n") || line.len() as u64 == MAX_LINE;
    if !is_whole {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof))
            .context("knockd stopped before it answered");
    }
    serde_json::from_slice(&line).context("knockd's answer is invalid: do the versions differ?")
}

/// The tasks that poll the status and follow the verdicts. Dropping this stops them.
#[derive(Debug)]
pub struct Feed(JoinSet<()>);

impl Feed {
    /// Sends what the daemon at `socket` reports to `updates`. Reconnects after a restart of the
    /// daemon.
    #[must_use]
    pub fn start(socket: &Path, updates: &mpsc::Sender<Update>) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(poll(socket.to_owned(), updates.clone()));
        tasks.spawn(follow(socket.to_owned(), updates.clone()));
        Self(tasks)
    }

    /// Waits until one of the tasks has ended. While `updates` is open, only a panic ends them.
    pub async fn ended(&mut self) {
        self.0.join_next().await;
    }
}

/// Ends when the receiver of the updates is dropped.
async fn poll(socket: PathBuf, updates: mpsc::Sender<Update>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let update = match status(&socket).await {
            Ok(status) => Update::Status(status.into()),
            Err(error) => Update::Unanswered(why(&error)),
        };
        if updates.send(update).await.is_err() {
            return;
        }
    }
}

/// The reason, worded to follow "knockd".
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
        Some(kind) => format!("cannot be reached ({kind})"),
        None if error.is::<serde_json::Error>() => "has another version".into(),
        None => "does not answer".into(),
    }
}

/// Ends when the receiver of the updates is dropped, like [`poll`].
async fn follow(socket: PathBuf, updates: mpsc::Sender<Update>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Err(_) = follow_once(&socket, &updates).await else {
            return;
        };
        if updates.send(Update::Unsubscribed).await.is_err() {
            return;
        }
    }
}

/// Returns an error when the daemon has stopped, and `Ok` when the receiver is dropped.
async fn follow_once(socket: &Path, updates: &mpsc::Sender<Update>) -> Result<()> {
    let mut verdicts = Verdicts::connect(socket).await?;
    loop {
        let notice = verdicts.next().await?;
        if updates.send(Update::Notice(notice)).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;
    use tokio::net::UnixListener;

    use super::*;

    /// The reason that is shown if the daemon sends `answer` and nothing else.
    async fn refusal(answer: &'static str) -> String {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut request = String::new();
            stream.read_line(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            request
        });
        let error = status(&socket).await.unwrap_err();
        assert_eq!(daemon.await.unwrap(), "status\n");
        why(&error)
    }

    #[tokio::test]
    async fn the_reason_for_a_missing_answer_is_shown() {
        assert_eq!(refusal("").await, "has stopped");
        assert_eq!(refusal("{\"version\": \"1.2").await, "has stopped");
        assert_eq!(refusal("{\"version\": 1}\n").await, "has another version");
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("socket");
        assert_eq!(why(&status(&socket).await.unwrap_err()), "has stopped");
        // A socket without a listener, and a file that is not a socket.
        drop(UnixListener::bind(&socket).unwrap());
        assert_eq!(why(&status(&socket).await.unwrap_err()), "has stopped");
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = status(&file).await.unwrap_err();
        assert!(error.to_string().contains("no running knockd answers"));
    }

    #[tokio::test]
    async fn a_feed_continues_after_the_daemon_has_stopped() {
        let folder = TempDir::new().unwrap();
        let (sender, mut updates) = mpsc::channel(MAX_LAG);
        let _feed = Feed::start(&folder.path().join("socket"), &sender);
        let (mut unanswered, mut unsubscribed) = (0, 0);
        while unanswered < 2 || unsubscribed < 2 {
            match updates.recv().await.unwrap() {
                Update::Unanswered(why) if why == "has stopped" => unanswered += 1,
                Update::Unsubscribed => unsubscribed += 1,
                other => panic!("{other:?}"),
            }
        }
    }
}
