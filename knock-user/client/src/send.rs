//! Sends a knock: 16 SYNs in order from 16 consecutive source ports, once per copy.

use std::{
    io,
    time::{Duration, Instant},
};

use knock_common::protocol::block::BLOCK_LEN;
use thiserror::Error;

use crate::{
    knock::Knock,
    pace::{Delay, Pace},
    server::Address,
    source::SourcePorts,
    stack::{Stack, SystemStack},
};

/// How long a socket stays open after its SYN was sent. While it is open, every user of this host can
/// read its port, and replay a classic knock.
///
/// The SYN may have to wait for neighbour discovery. Linux keeps it then, and sends it also if its
/// socket is closed by that time. Other systems may discard it.
const HOLD: Duration = if cfg!(any(target_os = "linux", target_os = "android")) {
    Duration::ZERO
} else {
    Duration::from_millis(200)
};

/// When a system sends a SYN again at the earliest: Windows half a second after a reset, every system
/// a second after an unanswered one (RFC 6298, section 2). That SYN would be out of order.
const RETRANSMISSION: Duration = Duration::from_millis(500);

const _: () = assert!(HOLD.as_millis() < RETRANSMISSION.as_millis());

/// How often a source port of a further copy is tried, and the pause in between: Windows may release
/// the port of the copy before a moment after its socket was closed.
const REBINDS: usize = 5;
const REBIND_PAUSE: Duration = Duration::from_millis(10);

/// The result of a sent knock.
#[derive(Debug)]
pub struct Sent {
    /// The source ports.
    #[cfg_attr(
        not(any(feature = "program", test)),
        expect(dead_code, reason = "only tests of the program read it")
    )]
    pub source: SourcePorts,
    /// The SYNs of further copies that could not be sent. The first copy is always complete.
    pub missed: Vec<Missed>,
}

/// A SYN of a further copy that could not be sent.
#[derive(Debug)]
pub struct Missed {
    /// The number of the copy, 2 or more.
    pub copy: u8,
    /// The source port of the SYN.
    pub port: u16,
    /// The reason.
    pub error: io::Error,
}

impl Sent {
    /// A note about incomplete copies, if there are any.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let Missed { copy, port, error } = self.missed.first()?;
        Some(format!(
            "the knock was sent, but {} SYNs of its further copies were not; the first was in copy {copy} from port {port}: {error}",
            self.missed.len()
        ))
    }
}

/// Why a knock was not sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// The system cannot send to this address, or is not allowed to.
    #[error("cannot knock on {to}")]
    Refused {
        /// The address.
        to: Address,
        /// The error of the system.
        source: io::Error,
    },
    /// A source port was in use in every range that was tried.
    #[error("cannot knock on {to}: no 16 consecutive source ports are free (tried {tries} ranges)")]
    NoSourcePorts {
        /// The address.
        to: Address,
        /// The number of ranges that were tried.
        tries: usize,
        /// The error of the system for the last range.
        source: io::Error,
    },
}

/// Sends `knock` to `to` from random source ports.
///
/// Takes as long as the delays between the SYNs, and elsewhere than on Linux 200 ms more. Success does not mean that the
/// knock arrived, because a knock is never answered.
///
/// # Errors
///
/// Returns [`SendError`] if the first copy could not be sent completely.
pub fn send(knock: &Knock, to: Address, pace: Pace) -> Result<Sent, SendError> {
    let candidates = SourcePorts::random(knock.window());
    send_through(&mut SystemStack, candidates, knock, to, pace)
}

/// Sends `knock` to `to` through `stack`, from the first of `candidates` that is free.
///
/// # Errors
///
/// Returns [`SendError`] if the first copy could not be sent completely.
pub fn send_through<S: Stack>(
    stack: &mut S,
    candidates: impl Iterator<Item = SourcePorts>,
    knock: &Knock,
    to: Address,
    pace: Pace,
) -> Result<Sent, SendError> {
    let mut tries = 0;
    let mut last = io::ErrorKind::AddrInUse.into();
    for source in candidates {
        tries += 1;
        let transmission = Transmission {
            stack,
            routes: routes(source, knock),
            to,
            delay: pace.delay,
            open: [const { None }; BLOCK_LEN],
        };
        match transmission.send(pace.copies.get()) {
            Ok(missed) => return Ok(Sent { source, missed }),
            Err(FirstCopyError::Taken(error)) => last = error,
            Err(FirstCopyError::Refused(source)) => return Err(SendError::Refused { to, source }),
        }
    }
    Err(SendError::NoSourcePorts {
        to,
        tries,
        source: last,
    })
}

/// The source port and the destination port of a SYN.
type Route = (u16, u16);

fn routes(source: SourcePorts, knock: &Knock) -> [Route; BLOCK_LEN] {
    let (from, to) = (source.ports(), knock.ports());
    std::array::from_fn(|i| (from[i], to[i]))
}

/// Why a first copy could not be sent.
enum FirstCopyError {
    /// A port is in use; other source ports may be free.
    Taken(io::Error),
    /// Other source ports would not help.
    Refused(io::Error),
}

impl FirstCopyError {
    fn of_bind(error: io::Error) -> Self {
        match error.kind() {
            // Windows returns this error for reserved ports.
            io::ErrorKind::PermissionDenied => Self::Taken(error),
            _ => Self::of_connect(error),
        }
    }

    fn of_connect(error: io::Error) -> Self {
        match error.kind() {
            // A connection with these addresses and ports exists, or did a short time ago.
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Self::Taken(error),
            _ => Self::Refused(error),
        }
    }
}

/// A knock that is being sent from one range of source ports.
struct Transmission<'a, S: Stack> {
    stack: &'a mut S,
    routes: [Route; BLOCK_LEN],
    to: Address,
    delay: Delay,
    /// The sockets whose SYN was sent, and when.
    open: [Option<(Instant, S::Socket)>; BLOCK_LEN],
}

impl<S: Stack> Transmission<'_, S> {
    fn send(mut self, copies: u8) -> Result<Vec<Missed>, FirstCopyError> {
        self.first_copy()?;
        let mut missed = Vec::new();
        for copy in 2..=copies {
            self.further_copy(copy, &mut missed);
        }
        self.close_held();
        self.stack.sleep(HOLD);
        Ok(missed)
    }

    /// Sends the first copy. Binds all ports before the first SYN, so that no SYN is sent if a port
    /// is in use.
    fn first_copy(&mut self) -> Result<(), FirstCopyError> {
        let mut bound = Vec::with_capacity(BLOCK_LEN);
        for i in 0..BLOCK_LEN {
            bound.push(self.bind(i).map_err(FirstCopyError::of_bind)?);
        }
        for (i, socket) in bound.into_iter().enumerate() {
            if i > 0 {
                self.pause();
            }
            self.connect(i, socket)
                .map_err(FirstCopyError::of_connect)?;
        }
        Ok(())
    }

    fn further_copy(&mut self, copy: u8, missed: &mut Vec<Missed>) {
        for i in 0..BLOCK_LEN {
            self.pause();
            // Releases the port for the next copy.
            self.open[i] = None;
            let sent = self
                .bind_again(i)
                .and_then(|socket| self.connect(i, socket));
            if let Err(error) = sent {
                let (port, _) = self.routes[i];
                missed.push(Missed { copy, port, error });
            }
        }
    }

    fn bind(&mut self, i: usize) -> io::Result<S::Socket> {
        let (from, port) = self.routes[i];
        self.stack.bind(self.to.with_port(port), from)
    }

    fn bind_again(&mut self, i: usize) -> io::Result<S::Socket> {
        for _ in 1..REBINDS {
            match self.bind(i) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    self.stack.sleep(REBIND_PAUSE);
                }
                bound => return bound,
            }
        }
        self.bind(i)
    }

    fn connect(&mut self, i: usize, socket: S::Socket) -> io::Result<()> {
        let (_, port) = self.routes[i];
        let now = self.stack.now();
        self.stack.connect(&socket, self.to.with_port(port))?;
        self.open[i] = (!HOLD.is_zero()).then_some((now, socket));
        Ok(())
    }

    /// Waits for the delay between two SYNs, and meanwhile closes each socket when its time is over.
    fn pause(&mut self) {
        let until = self.stack.now() + self.delay.get();
        loop {
            let over = self.open.iter().flatten().map(|(sent, _)| *sent + HOLD);
            let next = over.min().map_or(until, |over| over.min(until));
            let now = self.stack.now();
            self.stack.sleep(next.saturating_duration_since(now));
            self.close_held();
            if next == until {
                return;
            }
        }
    }

    fn close_held(&mut self) {
        let now = self.stack.now();
        for slot in &mut self.open {
            slot.take_if(|(sent, _)| now.saturating_duration_since(*sent) >= HOLD);
        }
    }
}

#[cfg(test)]
mod tests;
