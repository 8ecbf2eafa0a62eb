//! The phases of a listener, and which requests are allowed in each.
//!
//! | phase | begins | allowed requests |
//! |---|---|---|
//! | starting | the process was started | ready |
//! | running | the listener is ready | every request except ready |
//! | stopping | the supervisor shuts down | none |
//!
//! The supervisor kills a listener that sends anything else. While the supervisor shuts down it
//! receives nothing, so that a request that crosses the shutdown does not look like misbehaviour.

use std::fmt;

use crate::kind::RequestKind;

/// The phase of one listener process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The listener was started and is not ready yet.
    Starting,
    /// The listener is ready and reads untrusted network input.
    Running,
    /// The supervisor shuts down.
    Stopping,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 3] = [Self::Starting, Self::Running, Self::Stopping];

    /// Whether a listener may send requests of this kind in this phase.
    #[must_use]
    pub const fn allows(self, kind: RequestKind) -> bool {
        match kind {
            // A second one would repeat the readiness notification to the service manager.
            RequestKind::Ready => matches!(self, Self::Starting),
            // A listener asks and reports nothing before it is ready.
            RequestKind::Open
            | RequestKind::Close
            | RequestKind::Reload
            | RequestKind::Report
            | RequestKind::Follow
            | RequestKind::Flush
            | RequestKind::Ended
            | RequestKind::Alive
            | RequestKind::Notify
            | RequestKind::Withdraw
            | RequestKind::Mirror
            | RequestKind::Expel => matches!(self, Self::Running),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind, and whether it is allowed while starting, running and stopping.
    const TABLE: [(RequestKind, [bool; 3]); 13] = [
        (RequestKind::Ready, [true, false, false]),
        (RequestKind::Open, [false, true, false]),
        (RequestKind::Close, [false, true, false]),
        (RequestKind::Reload, [false, true, false]),
        (RequestKind::Report, [false, true, false]),
        (RequestKind::Follow, [false, true, false]),
        (RequestKind::Flush, [false, true, false]),
        (RequestKind::Ended, [false, true, false]),
        (RequestKind::Alive, [false, true, false]),
        (RequestKind::Notify, [false, true, false]),
        (RequestKind::Withdraw, [false, true, false]),
        (RequestKind::Mirror, [false, true, false]),
        (RequestKind::Expel, [false, true, false]),
    ];

    #[test]
    fn every_kind_is_allowed_exactly_in_its_phases() {
        assert_eq!(TABLE.map(|(kind, _)| kind), RequestKind::ALL);
        for (kind, expected) in TABLE {
            let allowed = Phase::ALL.map(|phase| phase.allows(kind));
            assert_eq!(allowed, expected, "{kind}");
        }
    }
}
