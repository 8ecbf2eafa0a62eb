//! Knocks until the door's port answers.
//!
//! A knock itself is never answered. Its effect is only visible in a TCP connection to the port
//! that the door opens. If none succeeds, the client knocks again with a fresh block.

use std::{fmt, num::NonZeroU16, str::FromStr, time::Duration, time::Instant};

use thiserror::Error;

mod attempts;

pub use attempts::Attempts;

/// How long the port is checked before the first knock. Enough for an answer across an ocean; if
/// an answer takes longer, only the message that the door was already open is lost.
const INITIAL_CHECK: Duration = Duration::from_millis(200);

/// How long the port is checked after the first knock. A fast server or a slow firewall script
/// needs less.
const FIRST_ROUND: Duration = Duration::from_millis(500);

/// The maximum time between two knocks. Longer pauses do not help on any network.
const LONGEST_ROUND: Duration = Duration::from_secs(10);

/// The pause after the first connection attempt. Each further pause is twice as long, up to
/// [`LONGEST_GAP`].
const FIRST_GAP: Duration = Duration::from_millis(50);

/// The maximum pause between attempts: the time after which a system retransmits a SYN.
const LONGEST_GAP: Duration = Duration::from_secs(1);

/// How often the results of the attempts are checked.
const POLL: Duration = Duration::from_millis(10);

/// The number of SYNs per second that the daemon accepts from one source (the default of knockd's
/// `events_per_second`).
const BUDGET: u32 = 64;

/// A TCP port that a door opens, written as `tcp/22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPort(NonZeroU16);

/// The text is not a valid [`TcpPort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected tcp/PORT, such as tcp/22: only TCP ports can be verified")]
pub struct InvalidTcpPort;

impl TcpPort {
    /// The port number.
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

/// How long to knock before giving up: at most one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(Duration);

/// The text is not a valid [`Timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a duration such as 10s, at most 1h")]
pub struct InvalidTimeout;

impl Timeout {
    /// Enough for six knocks.
    pub const DEFAULT: Self = Self(Duration::from_secs(10));

    /// The maximum. A longer wait indicates another problem.
    const MAX: Duration = Duration::from_secs(3600);

    /// The timeout as a duration.
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

/// The port of a door, and the operations of [`verify`] on it.
pub trait Doorway {
    /// The error of a failed knock.
    type Error;

    /// Knocks, with a fresh block for each of the server's addresses. `count` is the number of this
    /// knock, starting at 1.
    ///
    /// # Errors
    ///
    /// Returns an error if further knocks would be useless.
    fn knock(&mut self, count: u32) -> Result<(), Self::Error>;

    /// Starts another connection attempt, without waiting for its result.
    fn try_port(&mut self);

    /// Whether one of the attempts has succeeded.
    fn answers(&mut self) -> bool;

    /// The current time.
    fn now(&self) -> Instant;

    /// Waits for `pause`.
    fn sleep(&mut self, pause: Duration);
}

/// The result of [`verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The port answered before the first knock. One knock was sent anyway, to renew the lease.
    WasOpen,
    /// The port answered after this many knocks.
    Opened(u32),
    /// The port did not answer after this many knocks.
    Silent(u32),
}

/// Knocks and checks the port, at growing intervals, until it answers or `timeout` has passed
/// since the first knock.
///
/// The intervals are long enough that knocks with this many `syns` stay below the daemon's rate
/// limit for one source.
///
/// # Errors
///
/// Returns the error of [`Doorway::knock`].
pub fn verify<D: Doorway>(
    doorway: &mut D,
    syns: u64,
    timeout: Timeout,
) -> Result<Outcome, D::Error> {
    let was_open = port_answers(doorway, INITIAL_CHECK);
    doorway.knock(1)?;
    if was_open {
        return Ok(Outcome::WasOpen);
    }
    let deadline = doorway.now() + timeout.get();
    let mut round = first_round(syns);
    for count in 1.. {
        let left = deadline.saturating_duration_since(doorway.now());
        // There would be no time to see the effect of another knock.
        let last = left < round + FIRST_ROUND;
        if port_answers(doorway, if last { left.max(INITIAL_CHECK) } else { round }) {
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

fn first_round(syns: u64) -> Duration {
    (Duration::from_secs(syns) / BUDGET).max(FIRST_ROUND)
}

/// Whether the port answers within `time`.
fn port_answers<D: Doorway>(doorway: &mut D, time: Duration) -> bool {
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
