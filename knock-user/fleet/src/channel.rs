//! The fleet process's end of the channel.

use std::{
    io::{self, ErrorKind},
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result, ensure};
use knockd_ipc::fleet::{MAX_PACKET, MAX_STARTUP, Order, Report, Startup};
use rustix::io::ioctl_fionbio;
use tokio_seqpacket::UnixSeqpacket;
use zeroize::Zeroizing;

/// The fleet process's end.
#[derive(Debug)]
pub(crate) struct FleetEnd(UnixSeqpacket);

impl FleetEnd {
    /// The end that is the standard input of this process.
    ///
    /// # Errors
    ///
    /// Returns an error if standard input is not such a socket: the supervisor did not start this
    /// process.
    pub(crate) fn from_stdin() -> Result<Self> {
        let open = || {
            let stdin = io::stdin().as_fd().try_clone_to_owned()?;
            ioctl_fionbio(&stdin, true)?;
            UnixSeqpacket::try_from(stdin)
        };
        open()
            .map(Self)
            .context("this is the fleet process of knockd, which knockd starts by itself")
    }

    /// The first packet; `None` if the other end is closed.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not a startup.
    pub(crate) async fn startup(&self) -> Result<Option<Startup>> {
        // Zeroized, because it has the private key.
        let mut packet = Zeroizing::new(vec![0; MAX_STARTUP + 1]);
        let len = self.receive(&mut packet).await?;
        ensure!(len <= MAX_STARTUP, "the first packet is too long");
        if len == 0 {
            return Ok(None);
        }
        let startup = serde_json::from_slice(&packet[..len]);
        startup.map(Some).context("the first packet is no startup")
    }

    /// The next order; `None` if the other end is closed. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Returns an error if the packet is not an order.
    pub(crate) async fn recv(&self) -> Result<Option<Order>> {
        // One byte more, to detect packets that are too long.
        let mut packet = [0; MAX_PACKET + 1];
        let len = self.receive(&mut packet).await?;
        ensure!(
            len <= MAX_PACKET,
            "the listener sent a packet that is too long"
        );
        if len == 0 {
            return Ok(None);
        }
        let order = serde_json::from_slice(&packet[..len]);
        order.map(Some).context("the listener sent no order")
    }

    /// The length of the next packet, which is zero if the other end is closed.
    async fn receive(&self, packet: &mut [u8]) -> io::Result<usize> {
        match self.0.recv(packet).await {
            Ok(info) => Ok(info.bytes_read()),
            Err(error) if is_closed(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Sends a report, and waits while the socket's buffer is full. Returns whether the other end is
    /// open.
    ///
    /// # Errors
    ///
    /// Returns an error if the socket fails.
    pub(crate) async fn send(&self, report: &Report) -> Result<bool> {
        match self.0.send(&serde_json::to_vec(report)?).await {
            Ok(_) => Ok(true),
            Err(error) if is_closed(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind())
}
