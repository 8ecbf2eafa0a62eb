//! The server of the control socket, through which administrators observe and control the daemon.
//!
//! A client sends one line of fields separated by tabs. The answer is one line of JSON:
//!
//! | request | answer |
//! |---|---|
//! | `status` | [`Status`] |
//! | `leases` | an array of [`DoorStatus`] |
//! | `open`, address, door, and optionally seconds | [`CommandReply`] |
//! | `close`, address, and optionally a door | [`CommandReply`] |
//! | `reload` | [`CommandReply`] without doors |
//! | `tail` | a line for each [`Notice`] until either side disconnects |
//! | `verdicts` | the same without the kernel's log lines, which stay off |
//!
//! Every user that may connect may request `status`, `tail` and `verdicts`. The other requests are
//! for root and for the user that the daemon runs as.
//!
//! [`DoorStatus`]: knockd_types::status::DoorStatus
//! [`Status`]: knockd_types::status::Status

use std::{net::IpAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use knockd_types::{
    control::{CloseRequest, CommandReply, OpenRequest},
    event::{Event, Notice},
};
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

use crate::{pending::Outcome, query::Query, tails::Tail};

/// The number of concurrent connections. Further ones wait in the socket's backlog.
const MAX_CONNECTIONS: usize = 32;

/// The time limit for the request of a connection.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// The longest request in bytes: a verb, an address, a door's name and a number.
const MAX_REQUEST: u64 = 256;

/// The server of the control socket.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    /// The user that may send every request, besides root.
    owner: u32,
}

impl Server {
    /// A server on the listening socket `listener`, for root and for the user `owner`.
    ///
    /// # Errors
    ///
    /// Returns an error if the event loop cannot wait for the socket.
    pub(crate) fn from_listener(listener: OwnedFd, owner: u32) -> Result<Self> {
        let listener = UnixListener::from_std(listener.into())?;
        Ok(Self { listener, owner })
    }

    /// Serves connections forever. Their queries go to `queries`.
    pub(crate) async fn serve(self, queries: mpsc::Sender<Query>) {
        let owner = self.owner;
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let queries = queries.clone();
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, owner, &queries).await {
                            debug!("control socket: {error:#}");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Probably out of file descriptors: wait until some are closed.
                    warn!("control socket: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// A connected `tail` subscriber. Informs the event loop when it is dropped.
struct Subscriber<'a>(&'a mpsc::Sender<Query>);

impl Drop for Subscriber<'_> {
    fn drop(&mut self) {
        let queries = self.0.clone();
        tokio::spawn(async move {
            // Fails if the event loop has ended.
            let _ = queries.send(Query::TailEnded).await;
        });
    }
}

pub(crate) async fn answer(
    stream: UnixStream,
    owner: u32,
    queries: &mpsc::Sender<Query>,
) -> Result<()> {
    let uid = stream.peer_cred()?.uid();
    let is_owner = uid == 0 || uid == owner;
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading.take(MAX_REQUEST));
    let mut request = String::new();
    timeout(REQUEST_TIME, reading.read_line(&mut request))
        .await
        .context("no request was sent")??;
    let fields: Vec<_> = request.trim_end_matches('\n').split('\t').collect();
    match fields[..] {
        ["status"] => {
            let status = send_query(queries, Query::Status).await?;
            send(&mut writing, &status).await
        }
        ["tail"] => {
            let tail = send_query(queries, Query::Tail);
            let _subscriber = Subscriber(queries);
            let connection = reading.into_inner().into_inner();
            relay(connection, &mut writing, tail.await?, |_| true).await
        }
        ["verdicts"] => {
            let tail = send_query(queries, Query::Verdicts).await?;
            let connection = reading.into_inner().into_inner();
            // The eBPF program's log lines are on while there is a `tail` subscriber.
            let is_verdict = |event: &Event| !matches!(event, Event::Kernel { .. });
            relay(connection, &mut writing, tail, is_verdict).await
        }
        _ if !is_owner => {
            let refusal = "only root may list leases, open or close doors, and reload: use sudo";
            send(&mut writing, &CommandReply::Error(refusal.into())).await
        }
        ["fleet-leases"] => {
            let leases = send_query(queries, Query::FleetLeases).await?;
            send(&mut writing, &leases).await
        }
        ["leases"] => {
            let leases = send_query(queries, Query::Leases).await?;
            send(&mut writing, &leases).await
        }
        ref fields => {
            let outcome = match *fields {
                ["reload"] => send_query(queries, Query::Reload).await?,
                ["close", source] => close(queries, Query::Close, source, None).await?,
                ["close", source, door] => close(queries, Query::Close, source, Some(door)).await?,
                ["fleet-close", source] => close(queries, Query::FleetClose, source, None).await?,
                ["fleet-close", source, door] => {
                    close(queries, Query::FleetClose, source, Some(door)).await?
                }
                ["fleet-revoke", client] => {
                    let client = client.to_owned();
                    send_query(queries, |reply| Query::FleetRevoke(client, reply)).await?
                }
                ["open", source, door] => open(queries, source, door, None).await?,
                ["open", source, door, seconds] => {
                    open(queries, source, door, Some(seconds)).await?
                }
                _ => bail!("unknown request {request:?}"),
            };
            let reply = match outcome {
                Ok(doors) => CommandReply::Doors(doors),
                Err(error) => CommandReply::Error(error),
            };
            send(&mut writing, &reply).await
        }
    }
}

/// Sends a query to the event loop and waits for the answer.
async fn send_query<T>(
    queries: &mpsc::Sender<Query>,
    query: impl FnOnce(oneshot::Sender<T>) -> Query,
) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    queries
        .send(query(reply))
        .await
        .ok()
        .context("the daemon is stopping")?;
    answer.await.context("the daemon is stopping")
}

async fn close(
    queries: &mpsc::Sender<Query>,
    query: impl FnOnce(CloseRequest, oneshot::Sender<Outcome>) -> Query,
    source: &str,
    door: Option<&str>,
) -> Result<Outcome> {
    let request = CloseRequest {
        source: source.parse::<IpAddr>()?.to_canonical(),
        door: door.map(str::to_owned),
    };
    send_query(queries, |reply| query(request, reply)).await
}

async fn open(
    queries: &mpsc::Sender<Query>,
    source: &str,
    door: &str,
    seconds: Option<&str>,
) -> Result<Outcome> {
    let request = OpenRequest {
        source: source.parse::<IpAddr>()?.to_canonical(),
        door: door.to_owned(),
        seconds: seconds.map(str::parse).transpose()?,
    };
    send_query(queries, |reply| Query::Open(request, reply)).await
}

/// Sends every notice that is `wanted` until either side disconnects.
async fn relay(
    mut connection: OwnedReadHalf,
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
            // A subscriber sends nothing more: data or end of file ends the subscription.
            _ = connection.read(&mut byte) => return Ok(()),
        }
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(())
}
