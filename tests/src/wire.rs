//! Sends and captures raw frames on an interface.

use std::{
    io::IoSlice,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, ControlMessage, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockProtocol,
        SockType, bind, recvfrom, send, sendmmsg, setsockopt, socket, sockopt,
    },
};

use crate::netns::Namespace;

/// Larger than any frame, including unsegmented GSO frames.
const LARGEST_FRAME: usize = 1 << 17;

/// Receive buffer of a capture, for several hundred thousand small frames, so that a scan or a
/// flood does not displace later frames.
const CAPTURE_BUFFER: usize = 128 << 20;

/// Number of frames that an error message shows.
const SHOWN_FRAMES: usize = 8;

/// `PACKET_OUTGOING` of `packet(7)`.
const PACKET_OUTGOING: u8 = 4;

/// Sends raw frames on an interface.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
}

impl Sender {
    /// Opens a sender on `interface` of `namespace`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such interface or the kernel refuses the socket.
    pub fn new(namespace: &Namespace, interface: &str) -> Result<Self> {
        // Without a protocol the socket receives nothing.
        let (socket, _) = open(namespace, interface, None)?;
        Ok(Self { socket })
    }

    /// Sends one frame, including its Ethernet header.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses the frame, for instance because it is shorter than an
    /// Ethernet header or longer than the MTU.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty())
            .context("cannot send the frame")?;
        ensure!(sent == frame.len(), "only {sent} bytes were sent");
        Ok(())
    }
}

impl Sender {
    /// Like [`send`](Self::send), but retries as long as the interface's queue is full.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`send`](Self::send).
    pub fn send_with_retry(&self, frame: &[u8]) -> Result<()> {
        loop {
            match self.send(frame) {
                Err(error) if is_full(error.downcast_ref()) => thread::yield_now(),
                outcome => return outcome,
            }
        }
    }
}

fn is_full(error: Option<&Errno>) -> bool {
    matches!(error, Some(Errno::EAGAIN | Errno::ENOBUFS))
}

/// Sends many frames with a single system call.
#[derive(Debug)]
pub struct Burst {
    sender: Sender,
    headers: MultiHeaders<()>,
    len: usize,
}

impl Burst {
    /// Sends at most `len` frames at a time through `sender`.
    #[must_use]
    pub fn new(sender: Sender, len: usize) -> Self {
        Self {
            sender,
            headers: MultiHeaders::preallocate(len, None),
            len,
        }
    }

    /// Sends `frames` in order and returns how many were sent before the interface's queue was
    /// full.
    ///
    /// # Errors
    ///
    /// Returns an error if there are too many frames or the kernel refuses the first one.
    pub fn send(&mut self, frames: &[Vec<u8>]) -> Result<usize> {
        ensure!(frames.len() <= self.len, "a burst has {} frames", self.len);
        let slices: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        // The socket is bound to its interface.
        let addresses = vec![None; frames.len()];
        let socket = self.sender.socket.as_raw_fd();
        let none: [ControlMessage<'_>; 0] = [];
        match sendmmsg(
            socket,
            &mut self.headers,
            &slices,
            addresses,
            none,
            MsgFlags::empty(),
        ) {
            Ok(sent) => Ok(sent.count()),
            Err(error) if is_full(Some(&error)) => Ok(0),
            Err(error) => Err(error).context("cannot send the frames"),
        }
    }
}

/// The direction of a captured frame, relative to the capturing interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The direction.
    pub direction: Direction,
    /// The bytes, including the Ethernet header. The kernel removes the outermost VLAN tag of a
    /// received frame.
    pub bytes: Vec<u8>,
}

/// Captures all sent and received frames of an interface.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    interface: usize,
}

impl Capture {
    /// Starts a capture on `interface` of `namespace`. It does not see frames that XDP drops.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such interface or the kernel refuses the socket.
    pub fn new(namespace: &Namespace, interface: &str) -> Result<Self> {
        let (socket, interface) = open(namespace, interface, Some(SockProtocol::EthAll))?;
        setsockopt(&socket, sockopt::RcvBufForce, &CAPTURE_BUFFER)
            .context("cannot enlarge the capture's buffer")?;
        Ok(Self { socket, interface })
    }

    /// The next frame, or `None` if there is none until `deadline`.
    ///
    /// # Errors
    ///
    /// Returns an error if the interface goes down or disappears.
    pub fn next(&self, deadline: Instant) -> Result<Option<Captured>> {
        let mut buffer = vec![0; LARGEST_FRAME];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                Ok((len, Some(from))) if from.ifindex() == self.interface => {
                    buffer.truncate(len);
                    let direction = match from.pkttype() {
                        PACKET_OUTGOING => Direction::Out,
                        _ => Direction::In,
                    };
                    return Ok(Some(Captured {
                        direction,
                        bytes: buffer,
                    }));
                }
                // Before it was bound, the socket received frames of all interfaces.
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    self.await_frame(left)?;
                }
                Err(error) => return Err(error).context("cannot read the capture"),
            }
        }
    }

    /// The frames captured so far.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`next`](Self::next).
    pub fn drain(&self) -> Result<Vec<Captured>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next(Instant::now())? {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// All frames up to and including the first that satisfies `last`. To show that a packet was
    /// not answered, send another one afterwards that is answered, and check the frames before that
    /// answer.
    ///
    /// # Errors
    ///
    /// Returns an error if no such frame is captured within `timeout`.
    pub fn until(
        &self,
        mut last: impl FnMut(&Captured) -> bool,
        timeout: Duration,
    ) -> Result<Vec<Captured>> {
        let deadline = Instant::now() + timeout;
        let mut frames = Vec::new();
        while let Some(frame) = self.next(deadline)? {
            let done = last(&frame);
            frames.push(frame);
            if done {
                return Ok(frames);
            }
        }
        let last = frames.iter().rev().take(SHOWN_FRAMES).rev();
        let shown = last.map(|frame| format!("\n  {:?} {:02x?}", frame.direction, frame.bytes));
        bail!(
            "the expected frame did not come, but {} others; the last of them:{}",
            frames.len(),
            shown.collect::<String>()
        )
    }

    fn await_frame(&self, left: Duration) -> Result<()> {
        // Rounded up, so that the loop does not spin during the last millisecond.
        let left = left.saturating_add(Duration::from_micros(999));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut sockets = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut sockets, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for the capture"),
        }
    }
}

/// A packet socket that is bound to `interface`, and the interface's index.
fn open(
    namespace: &Namespace,
    interface: &str,
    protocol: Option<SockProtocol>,
) -> Result<(OwnedFd, usize)> {
    namespace.run(|| {
        // The address from getifaddrs(3) has no protocol, so that bind(2) keeps the socket's.
        let address = getifaddrs()?
            .filter(|listed| listed.interface_name == interface)
            .find_map(|listed| listed.address?.as_link_addr().copied())
            .with_context(|| format!("there is no interface {interface}"))?;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            protocol,
        )
        .context("cannot open a packet socket")?;
        bind(socket.as_raw_fd(), &address)
            .with_context(|| format!("cannot bind a packet socket to {interface}"))?;
        Ok((socket, address.ifindex()))
    })
}
