//! The channel between supervisor and listener: a Unix socket of type `SOCK_SEQPACKET`.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Seek as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{MemfdFlags, memfd_create};
use tokio_seqpacket::{
    UnixSeqpacket,
    ancillary::{AncillaryMessageWriter, OwnedAncillaryMessage},
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    message::Message,
    request::{InvalidRequest, REQUEST_LEN, Request},
};

/// The `argv[0]` that selects the role of the listener.
pub const LISTENER_NAME: &str = "knockd-listener";

/// The longest message that is sent in a packet. The socket's buffer holds several. A longer one is
/// sent as a memfd.
const MAX_INLINE: usize = 16 * 1024;

/// The length of a control message with eight file descriptors, header and padding included. No
/// message has more.
const ANCILLARY_LEN: usize = 64;

/// The first byte of a packet: the message follows.
const INLINE: u8 = 0;
/// The first byte of a packet: the message is in the last file descriptor.
const IN_FILE: u8 = 1;

/// The supervisor's end.
#[derive(Debug)]
pub struct SupervisorEnd(UnixSeqpacket);

/// The listener's end.
#[derive(Debug)]
pub struct ListenerEnd {
    socket: UnixSeqpacket,
    /// The receive buffer, allocated once. Wiped after each packet, which may have held keys.
    packet: Box<[u8]>,
}

/// The result of a receive operation of the supervisor.
#[derive(Debug)]
pub enum Received {
    /// A request.
    Request(Request),
    /// A packet that is not a request, or a request that is not allowed.
    Invalid(InvalidRequest),
    /// The listener has exited.
    Closed,
}

impl SupervisorEnd {
    /// This end, and the other end as the standard input of the listener.
    ///
    /// # Errors
    ///
    /// Returns an error if the limit of open files is reached.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

        let (supervisor, listener) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok((Self(supervisor.try_into()?), listener))
    }

    /// Shuts the channel down in both directions, which makes the listener exit.
    pub fn shutdown(&self) {
        // Fails only if the listener has exited.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }

    /// Receives the next request. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Returns an error if the socket fails.
    pub async fn recv(&self) -> io::Result<Received> {
        // One byte more, to detect packets that are too long.
        let mut packet = [0; REQUEST_LEN + 1];
        let len = match self.0.recv(&mut packet).await {
            Ok(info) => info.bytes_read(),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error),
        };
        if len == 0 {
            return Ok(Received::Closed);
        }
        Ok(match Request::from_bytes(&packet[..len]) {
            Ok(request) => Received::Request(request),
            Err(invalid) => Received::Invalid(invalid),
        })
    }

    /// Sends `message` with the file descriptors `files`.
    ///
    /// # Errors
    ///
    /// Returns an error if the listener has exited.
    pub async fn send(&self, message: &Message, files: &[BorrowedFd<'_>]) -> Result<()> {
        // Zeroized, because the message may contain keys.
        let json = Zeroizing::new(serde_json::to_vec(message)?);
        let mut files = files.to_vec();
        let file;
        let parts = if json.len() <= MAX_INLINE {
            [&[INLINE][..], &json]
        } else {
            file = in_memory(&json)?;
            files.push(file.as_fd());
            [&[IN_FILE][..], &[]]
        };
        let mut space = [0; ANCILLARY_LEN];
        let mut ancillary = AncillaryMessageWriter::new(&mut space);
        if !files.is_empty() {
            ancillary
                .add_fds(&files)
                .ok()
                .context("too many files for one message")?;
        }
        let parts = parts.map(IoSlice::new);
        self.0
            .send_vectored_with_ancillary(&parts, &mut ancillary)
            .await?;
        Ok(())
    }
}

impl ListenerEnd {
    /// The end that is the standard input of this process.
    ///
    /// # Errors
    ///
    /// Returns an error if standard input is not such a socket: the supervisor did not start this
    /// process.
    pub fn from_stdin() -> Result<Self> {
        let stdin = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .and_then(UnixSeqpacket::try_from);
        stdin
            .map(Self::new)
            .context("this is the listener of knockd, which only knockd itself starts")
    }

    fn new(socket: UnixSeqpacket) -> Self {
        Self {
            socket,
            packet: vec![0; MAX_INLINE + 1].into(),
        }
    }

    /// Sends `request`. Waits while the socket's buffer is full.
    ///
    /// # Errors
    ///
    /// Returns an error if the supervisor has exited.
    pub async fn send(&self, request: &Request) -> io::Result<()> {
        self.socket.send(&request.to_bytes()).await.map(|_| ())
    }

    /// Receives the next message and its file descriptors; `None` when the supervisor has exited.
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// Returns an error if the packet is not a message.
    pub async fn recv(&mut self) -> Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut space = [0; ANCILLARY_LEN];
        let mut files = Vec::new();
        let len = {
            let mut parts = [IoSliceMut::new(&mut self.packet)];
            let received = self
                .socket
                .recv_vectored_with_ancillary(&mut parts, &mut space);
            let (info, ancillary) = match received.await {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            for message in ancillary.into_messages() {
                if let OwnedAncillaryMessage::FileDescriptors(received) = message {
                    files.extend(received);
                }
            }
            info.bytes_read()
        };
        let packet = &mut self.packet[..len];
        let message = parse(packet, &mut files);
        packet.zeroize();
        Ok(message?.map(|message| (message, files)))
    }
}

/// The message in the packet or in the last of `files`; `None` for an empty packet.
fn parse(packet: &[u8], files: &mut Vec<OwnedFd>) -> Result<Option<Message>> {
    match packet {
        [] => Ok(None),
        [INLINE, json @ ..] => Ok(Some(serde_json::from_slice(json)?)),
        [IN_FILE, ..] => {
            let mut file = std::fs::File::from(files.pop().context("a file is missing")?);
            let mut json = Zeroizing::new(Vec::new());
            file.rewind()?;
            file.read_to_end(&mut json)?;
            Ok(Some(serde_json::from_slice(&json)?))
        }
        [kind, ..] => bail!("a message of kind {kind}"),
    }
}

fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create("knockd", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests;
