//! What the daemon's two processes say to each other.
//!
//! The *keeper* is privileged: it attaches the program, keeps the doors and runs their
//! commands. The *listener* reads what strangers send, and has no rights at all. Between them
//! is a Unix socket of sequenced packets. What the listener may say is an [`Request`], a record
//! of fixed length in which every byte is checked; anything else ends it. What the keeper says
//! is a [`Message`], which the listener trusts as it trusts its own code.

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

/// What this process is called: knockd started by this name is the listener.
pub const LISTENER_NAME: &str = "knockd-listener";

/// The longest message that fits into a packet: the socket's buffer holds several. A longer
/// one goes in a file in memory.
const MAX_INLINE: usize = 16 * 1024;

/// Bytes of a control message with eight files, header and padding included: more than any
/// message comes with.
const ANCILLARY_LEN: usize = 64;

/// The first byte of a [`Message`]: it follows, or is the last file that comes with it.
const INLINE: u8 = 0;
const IN_FILE: u8 = 1;

/// The keeper's end.
#[derive(Debug)]
pub struct SupervisorEnd(UnixSeqpacket);

/// The listener's end.
#[derive(Debug)]
pub struct ListenerEnd {
    socket: UnixSeqpacket,
    /// Where packets come in: made once, since the listener's loop waits for them each time
    /// round. Wiped after each, which may have held keys.
    packet: Box<[u8]>,
}

/// What came from the listener.
#[derive(Debug)]
pub enum Received {
    /// Something that it may say.
    Request(Request),
    /// Something that it may not.
    Invalid(InvalidRequest),
    /// It has gone.
    Closed,
}

impl SupervisorEnd {
    /// One end, and the other one for a process that is to be started.
    ///
    /// # Errors
    ///
    /// No more files can be open.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok((Self(ours.try_into()?), theirs))
    }

    /// Ends the listener's life, whatever it does: it hears nothing more and says nothing more.
    pub fn shutdown(&self) {
        // Fails only if it has gone.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }

    /// The next order. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The socket broke.
    pub async fn recv(&self) -> io::Result<Received> {
        // One byte more, so that what is too long does not look right.
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
            Ok(order) => Received::Request(order),
            Err(garbled) => Received::Invalid(garbled),
        })
    }

    /// Says `told`, and hands `files` over with it.
    ///
    /// # Errors
    ///
    /// The listener has gone.
    pub async fn send(&self, told: &Message, files: &[BorrowedFd<'_>]) -> Result<()> {
        // It may hold keys.
        let json = Zeroizing::new(serde_json::to_vec(told)?);
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
    /// The end that this process was started with as its standard input.
    ///
    /// # Errors
    ///
    /// It was started by somebody else.
    pub fn from_stdin() -> Result<Self> {
        let stdin = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .and_then(UnixSeqpacket::try_from);
        stdin
            .map(Self::new)
            .context("this is the network-facing half of knockd, which knockd starts by itself")
    }

    fn new(socket: UnixSeqpacket) -> Self {
        Self {
            socket,
            packet: vec![0; MAX_INLINE + 1].into(),
        }
    }

    /// Says `order`. Waits for the keeper if it does not listen fast enough.
    ///
    /// # Errors
    ///
    /// The keeper has gone.
    pub async fn send(&self, order: &Request) -> io::Result<()> {
        self.socket.send(&order.to_bytes()).await.map(|_| ())
    }

    /// What the keeper says next, and the files that come with it; `None` when it has gone.
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// The two do not understand each other.
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
        let told = parse(packet, &mut files);
        packet.zeroize();
        Ok(told?.map(|told| (told, files)))
    }
}

/// What the packet says, or the last of `files`; `None` if there is no packet.
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
