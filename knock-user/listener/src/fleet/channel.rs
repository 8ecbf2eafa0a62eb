//! The listener's end of the channel to the fleet process.

use std::{io, os::fd::OwnedFd};

use anyhow::{Result, ensure};
use knockd_ipc::fleet::{MAX_PACKET, Order, Report};
use tokio::{sync::mpsc, task::AbortHandle};
use tokio_seqpacket::UnixSeqpacket;
use tracing::warn;

/// Orders that wait for a fleet process that is slow to read them. One more is not sent.
const MAX_ORDERS: usize = 1024;

/// Reports that wait for the event loop. The fleet process waits after that.
const MAX_REPORTS: usize = 64;

/// A channel to a running fleet process. Closed when dropped.
#[derive(Debug)]
pub(super) struct Channel {
    orders: mpsc::Sender<Order>,
    reports: mpsc::Receiver<Report>,
    task: AbortHandle,
}

impl Channel {
    /// Serves the channel in a task.
    ///
    /// # Errors
    ///
    /// Returns an error if the event loop cannot wait for `socket`.
    pub(super) fn open(socket: OwnedFd) -> io::Result<Self> {
        let socket = UnixSeqpacket::try_from(socket)?;
        let (orders, to_send) = mpsc::channel(MAX_ORDERS);
        let (received, reports) = mpsc::channel(MAX_REPORTS);
        let task = tokio::spawn(async move {
            let ended = tokio::select! {
                ended = send(&socket, to_send) => ended,
                ended = receive(&socket, received) => ended,
            };
            if let Err(error) = ended {
                warn!("the channel to the fleet process is closed: {error:#}");
            }
        });
        Ok(Self {
            orders,
            reports,
            task: task.abort_handle(),
        })
    }

    /// Sends an order. Returns whether there was room for it.
    pub(super) fn send(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    /// Appends the next reports to `reports`; none if the channel is closed. Cancel-safe.
    pub(super) async fn next(&mut self, reports: &mut Vec<Report>) {
        self.reports.recv_many(reports, MAX_REPORTS).await;
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send(socket: &UnixSeqpacket, mut orders: mpsc::Receiver<Order>) -> Result<()> {
    while let Some(order) = orders.recv().await {
        socket.send(&serde_json::to_vec(&order)?).await?;
    }
    Ok(())
}

async fn receive(socket: &UnixSeqpacket, reports: mpsc::Sender<Report>) -> Result<()> {
    // One byte more, to detect packets that are too long.
    let mut packet = vec![0; MAX_PACKET + 1];
    loop {
        let len = match socket.recv(&mut packet).await {
            Ok(info) => info.bytes_read(),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error.into()),
        };
        if len == 0 {
            return Ok(());
        }
        ensure!(len <= MAX_PACKET, "a packet is too long");
        let report = serde_json::from_slice(&packet[..len])?;
        if reports.send(report).await.is_err() {
            return Ok(());
        }
    }
}
