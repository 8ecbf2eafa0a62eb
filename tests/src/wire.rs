//! Raw access to a link: frames out, frames in.

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

/// Larger than any frame, also one that the kernel has not segmented yet.
const LARGEST_FRAME: usize = 1 << 17;

/// What a capture may hold until it is read: some hundred thousand small frames, so that a
/// scan or a flood does not hide what comes after it.
const CAPTURE_BUFFER: usize = 128 << 20;

/// How many frames an error shows.
const SHOWN_FRAMES: usize = 8;

/// `PACKET_OUTGOING` of `packet(7)`.
const PACKET_OUTGOING: u8 = 4;

/// Sends frames as they are on an interface.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
}

impl Sender {
    /// A sender on `interface` of `namespace`.
    ///
    /// # Errors
    ///
    /// When there is no such interface, or the kernel refuses.
    pub fn new(namespace: &Namespace, interface: &str) -> Result<Self> {
        // No protocol, so that nothing is received on it.
        let (socket, _) = open(namespace, interface, None)?;
        Ok(Self { socket })
    }

    /// Sends one frame, from its Ethernet header on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it, for instance because it is shorter than an Ethernet
    /// header or longer than the interface's MTU allows.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty())
            .context("cannot send the frame")?;
        ensure!(sent == frame.len(), "only {sent} bytes were sent");
        Ok(())
    }
}

impl Sender {
    /// Like [`send`](Self::send), but for as long as the interface is full it tries again: what
    /// others send does not cost this frame.
    ///
    /// # Errors
    ///
    /// Like [`send`](Self::send).
    pub fn send_at_last(&self, frame: &[u8]) -> Result<()> {
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

/// Sends many frames with one system call for all of them.
#[derive(Debug)]
pub struct Burst {
    sender: Sender,
    headers: MultiHeaders<()>,
    len: usize,
}

impl Burst {
    /// At most `len` frames at a time through `sender`.
    #[must_use]
    pub fn new(sender: Sender, len: usize) -> Self {
        Self {
            sender,
            headers: MultiHeaders::preallocate(len, None),
            len,
        }
    }

    /// Sends `frames` in order; how many of them went out before the interface was full.
    ///
    /// # Errors
    ///
    /// When there are too many, or the kernel refuses the first of them.
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

/// Which way a captured frame went, seen from the interface that it was captured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It arrived.
    In,
    /// It was sent.
    Out,
}

/// A frame that passed an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Which way it went.
    pub direction: Direction,
    /// Its bytes, from the Ethernet header on. The kernel has taken the outermost VLAN tag
    /// out of a frame that arrived.
    pub bytes: Vec<u8>,
}

/// Collects the frames of an interface, both ways, from when it is made.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    interface: usize,
}

impl Capture {
    /// A capture on `interface` of `namespace`. What XDP drops there never arrives at it.
    ///
    /// # Errors
    ///
    /// When there is no such interface, or the kernel refuses.
    pub fn new(namespace: &Namespace, interface: &str) -> Result<Self> {
        let (socket, interface) = open(namespace, interface, Some(SockProtocol::EthAll))?;
        setsockopt(&socket, sockopt::RcvBufForce, &CAPTURE_BUFFER)
            .context("cannot enlarge the capture's buffer")?;
        Ok(Self { socket, interface })
    }

    /// The next frame, waiting for it until `deadline`; nothing if none came.
    ///
    /// # Errors
    ///
    /// When the interface went down or away.
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
                // Between its creation and its binding the socket heard every interface.
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

    /// The frames that were captured so far.
    ///
    /// # Errors
    ///
    /// Like [`next`](Self::next).
    pub fn drain(&self) -> Result<Vec<Captured>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next(Instant::now())? {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// All frames up to the first that is `last`, and that one. To show that something was
    /// not answered, ask afterwards for something that is, and look at what came before
    /// that answer.
    ///
    /// # Errors
    ///
    /// When `last` does not come within `timeout`.
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
            "the awaited frame did not come, but {} others, at last{}",
            frames.len(),
            shown.collect::<String>()
        )
    }

    fn await_frame(&self, left: Duration) -> Result<()> {
        // Rounded up, so that the last millisecond is waited for and not spun through.
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
        // Its address as the kernel lists it leaves the protocol to the socket.
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
