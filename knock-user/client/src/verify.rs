//! Knocking until the door's port answers.
//!
//! A knock itself is never answered. What can be seen of it is whether a TCP connection to
//! the port that it opens succeeds; where none does, another knock, with a fresh block, is
//! all that can be done.

use std::{fmt, num::NonZeroU16, str::FromStr, time::Duration, time::Instant};

use knock_common::protocol::block::BLOCK_LEN;
use thiserror::Error;

use crate::pace::Copies;

mod attempts;

pub use attempts::Attempts;

/// How long the port is looked at before the first knock. Long enough for an answer across
/// an ocean; where it comes later, only the remark that the door was open is lost.
const GLANCE: Duration = Duration::from_millis(200);

/// How long the port is looked at after the first knock. A quick server and a slow firewall
/// script take less.
const FIRST_ROUND: Duration = Duration::from_millis(500);

/// More patience than this between two knocks helps no link.
const LONGEST_ROUND: Duration = Duration::from_secs(10);

/// The pause after the first attempt at the port; each further one is twice as long, up to
/// [`LONGEST_GAP`].
const FIRST_GAP: Duration = Duration::from_millis(50);

/// Later attempts come as often as a system itself sends a SYN again.
const LONGEST_GAP: Duration = Duration::from_secs(1);

/// How often it is looked whether an attempt has got through.
const POLL: Duration = Duration::from_millis(10);

/// The SYNs that the daemon lets one source send per second (knockd's `events_per_second`,
/// by default).
const BUDGET: u32 = 64;

/// A TCP port that a door opens, written `tcp/22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPort(NonZeroU16);

/// A text that is no [`TcpPort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it is written like tcp/22: only TCP ports answer")]
pub struct InvalidTcpPort;

impl TcpPort {
    /// The port's number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl FromStr for TcpPort {
    type Err = InvalidTcpPort;

    fn from_str(text: &str) -> Result<Self, InvalidTcpPort> {
        let port = text.strip_prefix("tcp/").ok_or(InvalidTcpPort)?;
        let all_digits = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if all_digits => Ok(Self(port)),
            _ => Err(InvalidTcpPort),
        }
    }
}

impl fmt::Display for TcpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp/{}", self.0)
    }
}

/// How long one knocks before giving up: up to an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(Duration);

/// A text that is no [`Timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it is written like 10s, and is at most 1h")]
pub struct InvalidTimeout;

impl Timeout {
    /// Six knocks.
    pub const DEFAULT: Self = Self(Duration::from_secs(10));

    /// Who waits longer has another problem.
    const MAX: Duration = Duration::from_secs(3600);

    /// The time itself.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Timeout {
    type Err = InvalidTimeout;

    fn from_str(text: &str) -> Result<Self, InvalidTimeout> {
        humantime::parse_duration(text)
            .ok()
            .filter(|timeout| !timeout.is_zero() && *timeout <= Self::MAX)
            .map(Self)
            .ok_or(InvalidTimeout)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A door's port, and what can be done about it from outside.
pub trait Doorway {
    /// Why no knock leaves.
    type Error;

    /// Knocks, with a fresh block for each of the server's addresses. This is the `count`th
    /// time, counted from 1.
    ///
    /// # Errors
    ///
    /// If it makes no sense to go on.
    fn knock(&mut self, count: u32) -> Result<(), Self::Error>;

    /// Starts another attempt at connecting to the port, and does not wait for it.
    fn try_port(&mut self);

    /// Whether one of the attempts has succeeded.
    fn answers(&mut self) -> bool;

    /// What time it is.
    fn now(&self) -> Instant;

    /// Waits.
    fn sleep(&mut self, pause: Duration);
}

/// What came of knocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The port had answered before. It was knocked on once all the same, which extends the
    /// lease.
    WasOpen,
    /// The port answers after so many knocks.
    Opened(u32),
    /// The port has not answered after so many knocks.
    Silent(u32),
}

/// Knocks, and looks at the port; and again, at growing intervals, until it answers or
/// `timeout` has passed since the first knock.
///
/// The intervals are such that a knock of so many `copies` never exceeds what the daemon
/// takes from one source.
///
/// # Errors
///
/// What [`Doorway::knock`] returns.
pub fn verify<D: Doorway>(
    doorway: &mut D,
    copies: Copies,
    timeout: Timeout,
) -> Result<Outcome, D::Error> {
    let was_open = look(doorway, GLANCE);
    doorway.knock(1)?;
    if was_open {
        return Ok(Outcome::WasOpen);
    }
    let deadline = doorway.now() + timeout.get();
    let mut round = first_round(copies);
    for count in 1.. {
        let left = deadline.saturating_duration_since(doorway.now());
        // A knock whose success there is no time to see would be for nothing.
        let last = left < round + FIRST_ROUND;
        if look(doorway, if last { left.max(GLANCE) } else { round }) {
            return Ok(Outcome::Opened(count));
        }
        if last {
            return Ok(Outcome::Silent(count));
        }
        doorway.knock(count + 1)?;
        round = (round * 3 / 2).min(LONGEST_ROUND);
    }
    Ok(Outcome::Silent(u32::MAX))
}

fn first_round(copies: Copies) -> Duration {
    let syns = u64::from(copies.get()) * BLOCK_LEN as u64;
    (Duration::from_secs(syns) / BUDGET).max(FIRST_ROUND)
}

/// Whether the port answers within the time given.
fn look<D: Doorway>(doorway: &mut D, time: Duration) -> bool {
    let mut next = doorway.now();
    let end = next + time;
    let mut gap = FIRST_GAP;
    loop {
        if doorway.answers() {
            return true;
        }
        let now = doorway.now();
        if now >= end {
            return false;
        }
        if now >= next {
            doorway.try_port();
            next = now + gap;
            gap = (gap * 2).min(LONGEST_GAP);
        }
        doorway.sleep(POLL.min(end - now));
    }
}

#[cfg(test)]
mod tests;
