//! The kinds of requests.

use std::fmt;

/// The kind of a request: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RequestKind {
    /// The listener is ready.
    Ready = 1,
    /// Open a door.
    Open = 2,
    /// Close doors.
    Close = 3,
    /// Reload the configuration.
    Reload = 4,
    /// Report the supervisor's state.
    Report = 5,
    /// Switch the eBPF program's log lines on or off.
    Follow = 6,
    /// Forward the pending log lines of the eBPF program.
    Flush = 7,
    /// The input of `--lines` has ended.
    Ended = 8,
    /// The answer to a ping.
    Alive = 9,
    /// Switch notices on or off.
    Notify = 10,
    /// Close a door, for an accepted knock that asks for it.
    Withdraw = 11,
    /// Open a door that a knock at another node of the fleet has opened.
    Mirror = 12,
    /// Close everything that a client has open, because the fleet has revoked its key.
    Expel = 13,
}

impl RequestKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Ready,
        Self::Open,
        Self::Close,
        Self::Reload,
        Self::Report,
        Self::Follow,
        Self::Flush,
        Self::Ended,
        Self::Alive,
        Self::Notify,
        Self::Withdraw,
        Self::Mirror,
        Self::Expel,
    ];

    /// The byte that stands for it in a packet.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self as u8
    }

    /// The kind that `byte` stands for.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_byte() == byte)
    }

    /// Its name, for the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Open => "open",
            Self::Close => "close",
            Self::Reload => "reload",
            Self::Report => "report",
            Self::Follow => "follow",
            Self::Flush => "flush",
            Self::Ended => "ended",
            Self::Alive => "alive",
            Self::Notify => "notify",
            Self::Withdraw => "withdraw",
            Self::Mirror => "mirror",
            Self::Expel => "expel",
        }
    }
}

impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_byte_and_a_name_of_its_own() {
        for byte in 0..=u8::MAX {
            let kind = RequestKind::from_byte(byte);
            assert_eq!(kind.is_some(), (1..=13).contains(&byte), "{byte}");
            assert!(kind.is_none_or(|kind| kind.to_byte() == byte), "{byte}");
        }
        let mut names = RequestKind::ALL.map(RequestKind::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RequestKind::ALL.len());
    }
}
