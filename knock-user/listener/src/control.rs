//! The daemon's end of the control socket.

use std::{net::IpAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tracing::{debug, warn};

use crate::query::Query;
use crate::tails::Tail;
use knockd_types::control::{CloseRequest, CommandReply, OpenRequest};
use knockd_types::event::{Event, Notice};

/// Connections at the same time. More wait in the socket's backlog.
const MAX_CONNECTIONS: usize = 32;

/// How long a connection may take to say what it wants.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// The longest request: an address, a door's name, a number.
const MAX_REQUEST: u64 = 256;

/// Who answers on the socket.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    /// The user that may move doors, besides root.
    owner: u32,
}

impl Server {
    /// The server behind a `listener` of [`Socket::bind`], which answers everything to root and
    /// to the user `owner`.
    ///
    /// # Errors
    ///
    /// It cannot be waited for.
    pub(crate) fn from_listener(listener: OwnedFd, owner: u32) -> Result<Self> {
        let listener = UnixListener::from_std(listener.into())?;
        Ok(Self { listener, owner })
    }

    /// Serves connections for ever, passing on what they ask for.
    pub(crate) async fn serve(self, requests: mpsc::Sender<Query>) {
        let owner = self.owner;
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let requests = requests.clone();
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, owner, &requests).await {
                            debug!("control socket: {error:#}");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: wait for some to be closed.
                    warn!("control socket: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// Tells the daemon's loop, when it is dropped, that a tail has ended.
struct Following<'a>(&'a mpsc::Sender<Query>);

impl Drop for Following<'_> {
    fn drop(&mut self) {
        let requests = self.0.clone();
        tokio::spawn(async move {
            // Fails only when the loop has ended.
            let _ = requests.send(Query::TailEnded).await;
        });
    }
}

async fn answer(stream: UnixStream, owner: u32, requests: &mpsc::Sender<Query>) -> Result<()> {
    let uid = stream.peer_cred()?.uid();
    let is_owner = uid == 0 || uid == owner;
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading.take(MAX_REQUEST));
    let mut request = String::new();
    timeout(REQUEST_TIME, reading.read_line(&mut request))
        .await
        .context("no request came")??;
    let fields: Vec<_> = request.trim_end_matches('\n').split('\t').collect();
    match fields[..] {
        ["status"] => {
            let (reply, status) = oneshot::channel();
            requests.send(Query::Status(reply)).await?;
            send(&mut writing, &status.await?).await
        }
        ["tail"] => {
            let (reply, tail) = oneshot::channel();
            requests.send(Query::Tail(reply)).await?;
            let _following = Following(requests);
            let gone = reading.into_inner().into_inner();
            follow(gone, &mut writing, tail.await?, |_| true).await
        }
        ["verdicts"] => {
            let (reply, tail) = oneshot::channel();
            requests.send(Query::Verdicts(reply)).await?;
            let gone = reading.into_inner().into_inner();
            // Others may tail at the same time.
            let is_verdict = |event: &Event| !matches!(event, Event::Kernel { .. });
            follow(gone, &mut writing, tail.await?, is_verdict).await
        }
        _ if !is_owner => {
            let refusal = "only root may see leases, move doors and reload: ask with sudo";
            send(&mut writing, &CommandReply::Error(refusal.into())).await
        }
        ["leases"] => {
            let (reply, leases) = oneshot::channel();
            requests.send(Query::Leases(reply)).await?;
            send(&mut writing, &leases.await?).await
        }
        ["reload"] => {
            let (reply, reloaded) = oneshot::channel();
            requests.send(Query::Reload(reply)).await?;
            let reloaded = match reloaded.await? {
                Ok(none) => CommandReply::Doors(none),
                Err(error) => CommandReply::Error(error),
            };
            send(&mut writing, &reloaded).await
        }
        ref fields => {
            let (reply, moved) = oneshot::channel();
            let request = match *fields {
                ["close", source] => close(source, None, reply)?,
                ["close", source, door] => close(source, Some(door), reply)?,
                ["open", source, door] => open(source, door, None, reply)?,
                ["open", source, door, seconds] => open(source, door, Some(seconds), reply)?,
                _ => bail!("unknown request {request:?}"),
            };
            requests.send(request).await?;
            let moved = match moved.await? {
                Ok(doors) => CommandReply::Doors(doors),
                Err(error) => CommandReply::Error(error),
            };
            send(&mut writing, &moved).await
        }
    }
}

type Reply = oneshot::Sender<Result<Vec<String>, String>>;

fn close(source: &str, door: Option<&str>, reply: Reply) -> Result<Query> {
    let request = CloseRequest {
        source: source.parse::<IpAddr>()?.to_canonical(),
        door: door.map(str::to_owned),
    };
    Ok(Query::Close(request, reply))
}

fn open(source: &str, door: &str, seconds: Option<&str>, reply: Reply) -> Result<Query> {
    let request = OpenRequest {
        source: source.parse::<IpAddr>()?.to_canonical(),
        door: door.to_owned(),
        seconds: seconds.map(str::parse).transpose()?,
    };
    Ok(Query::Open(request, reply))
}

/// Sends every notice that is `wanted` until either side ends it.
async fn follow(
    mut gone: OwnedReadHalf,
    writing: &mut OwnedWriteHalf,
    (mut tail, listening): (Tail, String),
    wanted: impl Fn(&Event) -> bool,
) -> Result<()> {
    send(writing, &Notice::now(Event::Following { listening })).await?;
    let mut byte = [0];
    loop {
        tokio::select! {
            notice = tail.next() => match notice {
                Some(notice) if wanted(&notice.event) => send(writing, &notice).await?,
                Some(_) => {}
                None => return Ok(()),
            },
            // Whoever follows says nothing more: bytes or an end mean that he is gone.
            _ = gone.read(&mut byte) => return Ok(()),
        }
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(())
}
