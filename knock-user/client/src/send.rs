//! Sending a knock: 16 SYNs in order from 16 consecutive source ports, copy by copy.

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

/// How long a socket is held after its SYN.
///
/// A SYN may wait for the neighbour's link-layer address, and not every system lets it
/// outlive its socket.
const HOLD: Duration = Duration::from_millis(200);

/// When a system sends a SYN again that nobody answered (RFC 6298, section 2). A copy out of
/// order would only take the daemon's time.
const RETRANSMISSION: Duration = Duration::from_secs(1);

// A socket is looked at before each SYN, so it may be a delay older than HOLD when it closes.
const _: () = assert!(HOLD.as_millis() + Delay::MAX.as_millis() < RETRANSMISSION.as_millis());

/// A knock that has left.
#[derive(Debug)]
pub struct Sent {
    /// Where it left from.
    pub source: SourcePorts,
    /// The SYNs of further copies that did not leave. The first copy is always complete.
    pub missed: Vec<Missed>,
}

/// A SYN of a further copy that did not leave.
#[derive(Debug)]
pub struct Missed {
    /// Which copy: 2 is the first that is insurance.
    pub copy: u8,
    /// The source port that it should have left from.
    pub port: u16,
    /// Why it did not.
    pub error: io::Error,
}

impl Sent {
    /// What is to be said of the copies that are incomplete, if any is.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let Missed { copy, port, error } = self.missed.first()?;
        Some(format!(
            "the knock was sent, but {} of its copied SYNs were not; the first was copy {copy} from port {port}: {error}",
            self.missed.len()
        ))
    }
}

/// Why a knock did not leave.
#[derive(Debug, Error)]
pub enum SendError {
    /// The system cannot or must not send to this address.
    #[error("cannot knock on {to}")]
    Refused {
        /// The address.
        to: Address,
        /// What the system says.
        source: io::Error,
    },
    /// In all places tried a port is in use.
    #[error("cannot knock on {to}: no 16 consecutive source ports are free (tried {tries} places)")]
    NoSourcePorts {
        /// The address.
        to: Address,
        /// How many places were tried.
        tries: usize,
        /// What the system says to the last of them.
        source: io::Error,
    },
}

/// Sends `knock` to `to` from random source ports.
///
/// Takes as long as its SYNs' delays, and 200 ms. Nothing can be said of its arrival: a
/// knock is never answered.
///
/// # Errors
///
/// [`SendError`] if the first copy did not leave completely.
pub fn send(knock: &Knock, to: Address, pace: Pace) -> Result<Sent, SendError> {
    let candidates = SourcePorts::random(knock.window());
    send_through(&mut SystemStack, candidates, knock, to, pace)
}

/// Sends `knock` to `to` through `stack`, from the first of `candidates` that is free.
///
/// # Errors
///
/// [`SendError`] if the first copy did not leave completely.
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
        let flight = Flight {
            stack,
            routes: routes(source, knock),
            to,
            delay: pace.delay,
            open: [const { None }; BLOCK_LEN],
        };
        match flight.send(pace.copies.get()) {
            Ok(missed) => return Ok(Sent { source, missed }),
            Err(Setback::Taken(error)) => last = error,
            Err(Setback::Refused(source)) => return Err(SendError::Refused { to, source }),
        }
    }
    Err(SendError::NoSourcePorts {
        to,
        tries,
        source: last,
    })
}

/// A SYN's source port and the port that it knocks on.
type Route = (u16, u16);

fn routes(source: SourcePorts, knock: &Knock) -> [Route; BLOCK_LEN] {
    let (from, to) = (source.ports(), knock.ports());
    std::array::from_fn(|i| (from[i], to[i]))
}

/// Why a first copy did not leave.
enum Setback {
    /// Another place may be free.
    Taken(io::Error),
    /// Another place would not help.
    Refused(io::Error),
}

impl Setback {
    fn of_bind(error: io::Error) -> Self {
        match error.kind() {
            // Windows refuses the ports that it reserves with this.
            io::ErrorKind::PermissionDenied => Self::Taken(error),
            _ => Self::of_connect(error),
        }
    }

    fn of_connect(error: io::Error) -> Self {
        match error.kind() {
            // A connection between these two addresses and ports exists, or just did.
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Self::Taken(error),
            _ => Self::Refused(error),
        }
    }
}

/// A knock on its way from one place.
struct Flight<'a, S: Stack> {
    stack: &'a mut S,
    routes: [Route; BLOCK_LEN],
    to: Address,
    delay: Delay,
    /// The sockets that have sent, and when.
    open: [Option<(Instant, S::Socket)>; BLOCK_LEN],
}

impl<S: Stack> Flight<'_, S> {
    fn send(mut self, copies: u8) -> Result<Vec<Missed>, Setback> {
        self.first_copy()?;
        let mut missed = Vec::new();
        for copy in 2..=copies {
            self.further_copy(copy, &mut missed);
        }
        self.close_held();
        self.stack.sleep(HOLD);
        Ok(missed)
    }

    /// All ports are bound before the first SYN leaves, so that a port that is taken costs
    /// no SYN.
    fn first_copy(&mut self) -> Result<(), Setback> {
        let mut bound = Vec::with_capacity(BLOCK_LEN);
        for i in 0..BLOCK_LEN {
            bound.push(self.bind(i).map_err(Setback::of_bind)?);
        }
        for (i, socket) in bound.into_iter().enumerate() {
            if i > 0 {
                self.pause();
            }
            self.connect(i, socket).map_err(Setback::of_connect)?;
        }
        Ok(())
    }

    fn further_copy(&mut self, copy: u8, missed: &mut Vec<Missed>) {
        for i in 0..BLOCK_LEN {
            self.pause();
            // Frees the port for its copy.
            self.open[i] = None;
            let sent = self.bind(i).and_then(|socket| self.connect(i, socket));
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

    fn connect(&mut self, i: usize, socket: S::Socket) -> io::Result<()> {
        let (_, port) = self.routes[i];
        let now = self.stack.now();
        self.stack.connect(&socket, self.to.with_port(port))?;
        self.open[i] = Some((now, socket));
        Ok(())
    }

    fn pause(&mut self) {
        self.stack.sleep(self.delay.get());
        self.close_held();
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
