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
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::control::unanswered;
use crate::top::view::Update;
use knockd_types::{event::Notice, status::Status};

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
    let is_whole = line.ends_with(b"\n") || line.len() as u64 == MAX_LINE;
    if !is_whole {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof))
            .context("knockd stopped before it answered");
    }
    serde_json::from_slice(&line)
        .context("knockd's answer is not understood: is it of another version?")
}

/// Asks and follows for as long as it lives.
#[derive(Debug)]
pub struct Feed(JoinSet<()>);

impl Feed {
    /// Tells `updates` what the daemon at `socket` says, also after it was started again.
    #[must_use]
    pub fn start(socket: &Path, updates: &mpsc::Sender<Update>) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(poll(socket.to_owned(), updates.clone()));
        tasks.spawn(follow(socket.to_owned(), updates.clone()));
        Self(tasks)
    }

    /// Waits until one half has ended, which it does by itself only in a panic.
    pub async fn ended(&mut self) {
        self.0.join_next().await;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;
    use tokio::net::UnixListener;

    use super::*;

    /// Why no status comes from a daemon that says `answer` and no more.
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
    async fn it_is_known_why_there_is_no_answer() {
        assert_eq!(refusal("").await, "has stopped");
        assert_eq!(refusal("{\"version\": \"1.2").await, "has stopped");
        assert_eq!(refusal("{\"version\": 1}\n").await, "is of another version");
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("socket");
        assert_eq!(why(&status(&socket).await.unwrap_err()), "has stopped");
        // A socket that nobody listens at, and a file that is none.
        drop(UnixListener::bind(&socket).unwrap());
        assert_eq!(why(&status(&socket).await.unwrap_err()), "has stopped");
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = status(&file).await.unwrap_err();
        assert!(error.to_string().contains("no running knockd answers"));
    }

    #[tokio::test]
    async fn a_feed_goes_on_after_the_daemon_has_gone() {
        let folder = TempDir::new().unwrap();
        let (sender, mut updates) = mpsc::channel(MAX_LAG);
        let _feed = Feed::start(&folder.path().join("socket"), &sender);
        let (mut silent, mut deaf) = (0, 0);
        while silent < 2 || deaf < 2 {
            match updates.recv().await.unwrap() {
                Update::Silent(why) if why == "has stopped" => silent += 1,
                Update::Deaf => deaf += 1,
                other => panic!("{other:?}"),
            }
        }
    }
}
