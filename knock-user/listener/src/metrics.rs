//! Metrics for the exporter: the latencies that are counted here, and the channel on which the
//! exporter requests snapshots.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use knockd_ipc::{
    message::Effect,
    metrics::{Histogram, REQUEST, frame},
};
use knockd_runtime::clock::monotonic;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::{mpsc, oneshot},
    task::AbortHandle,
};
use tracing::warn;

use crate::query::Query;

/// The latencies since the start, and the channel to the exporter, if there is one.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) gate_opening: Histogram,
    pub(crate) command_start: Histogram,
    /// The start of the daemon, in seconds since 1970.
    pub(crate) started: f64,
    queries: mpsc::Sender<Query>,
    channel: Option<AbortHandle>,
}

impl Metrics {
    /// No latencies and no exporter. `queries` leads to the event loop; the daemon was started at
    /// `started` on the clock of [`monotonic`].
    pub(crate) fn new(queries: mpsc::Sender<Query>, started: Duration) -> Self {
        let uptime = monotonic().saturating_sub(started);
        let started = SystemTime::now().checked_sub(uptime);
        let started = started.and_then(|started| started.duration_since(UNIX_EPOCH).ok());
        Self {
            gate_opening: Histogram::default(),
            command_start: Histogram::default(),
            started: started.unwrap_or_default().as_secs_f64(),
            queries,
            channel: None,
        }
    }

    /// Counts a knock that had `effect` at `time` after its last packet.
    pub(crate) fn observe(&mut self, effect: Effect, time: Duration) {
        match effect {
            Effect::Gate => self.gate_opening.observe(time),
            Effect::Command => self.command_start.observe(time),
        }
    }

    /// Serves a new exporter on `channel` in place of the previous one.
    ///
    /// # Errors
    ///
    /// Returns an error if the event loop cannot wait for `channel`.
    pub(crate) fn serve(&mut self, channel: OwnedFd) -> io::Result<()> {
        if let Some(previous) = self.channel.take() {
            previous.abort();
        }
        let channel = std::os::unix::net::UnixStream::from(channel);
        channel.set_nonblocking(true)?;
        let serving = serve(UnixStream::from_std(channel)?, self.queries.clone());
        let task = tokio::spawn(async {
            if let Err(error) = serving.await {
                warn!("the channel to the metrics exporter is closed: {error:#}");
            }
        });
        self.channel = Some(task.abort_handle());
        Ok(())
    }
}

/// Answers one request after the other until the exporter exits. An exporter that does not read
/// its answer delays only itself.
async fn serve(mut channel: UnixStream, queries: mpsc::Sender<Query>) -> Result<()> {
    let mut request = [0];
    while matches!(channel.read(&mut request).await, Ok(1..)) {
        ensure!(request == [REQUEST], "an invalid request");
        let (reply, snapshot) = oneshot::channel();
        queries.send(Query::Metrics(reply)).await?;
        let snapshot = snapshot.await.context("there is no snapshot")?;
        if channel.write_all(&frame(&snapshot)?).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use knockd_ipc::metrics::{PREFIX_LEN, Snapshot, frame_len};

    use super::*;

    /// The exporter's end of a channel to an event loop that has accepted one knock.
    fn channel() -> (UnixStream, Metrics) {
        let (sender, mut queries) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(query) = queries.recv().await {
                let Query::Metrics(reply) = query else {
                    panic!("{query:?}");
                };
                let mut snapshot = Snapshot::default();
                snapshot.daemon.accepted = 1;
                let _ = reply.send(snapshot);
            }
        });
        let mut metrics = Metrics::new(sender, Duration::ZERO);
        (connect(&mut metrics), metrics)
    }

    fn connect(metrics: &mut Metrics) -> UnixStream {
        let (exporter, listener) = UnixStream::pair().unwrap();
        let listener = listener.into_std().unwrap();
        metrics.serve(listener.into()).unwrap();
        exporter
    }

    async fn read(exporter: &mut UnixStream) -> Snapshot {
        let mut prefix = [0; PREFIX_LEN];
        exporter.read_exact(&mut prefix).await.unwrap();
        let mut json = vec![0; frame_len(prefix).unwrap()];
        exporter.read_exact(&mut json).await.unwrap();
        serde_json::from_slice(&json).unwrap()
    }

    #[tokio::test]
    async fn each_request_gets_a_snapshot() {
        let (mut exporter, _metrics) = channel();
        exporter.write_all(&[REQUEST; 3]).await.unwrap();
        for _ in 0..3 {
            assert_eq!(read(&mut exporter).await.daemon.accepted, 1);
        }
    }

    #[tokio::test]
    async fn anything_else_closes_the_channel() {
        let (mut exporter, _metrics) = channel();
        exporter.write_all(&[REQUEST, 0, REQUEST]).await.unwrap();
        read(&mut exporter).await;
        // The request after the invalid byte was not read, so this may also be a reset.
        let read = exporter.read(&mut [0]).await;
        assert!(!read.is_ok_and(|len| len > 0));
    }

    #[tokio::test]
    async fn a_new_exporter_replaces_the_previous_one() {
        let (mut first, mut metrics) = channel();
        let mut second = connect(&mut metrics);
        assert_eq!(first.read(&mut [0]).await.unwrap(), 0);
        second.write_all(&[REQUEST]).await.unwrap();
        assert_eq!(read(&mut second).await.daemon.accepted, 1);
    }

    #[tokio::test]
    async fn each_effect_has_its_histogram() {
        let (_exporter, mut metrics) = channel();
        metrics.observe(Effect::Gate, Duration::from_millis(1));
        assert_eq!(metrics.gate_opening.count, 1);
        assert_eq!(metrics.command_start.count, 0);
        metrics.observe(Effect::Command, Duration::from_millis(1));
        assert_eq!(metrics.command_start.count, 1);
    }
}
