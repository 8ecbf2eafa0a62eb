//! What the daemon reports: to its log, to `tail` subscribers and in the journal's fields.

use std::{fmt, net::IpAddr, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// One notice with its time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Notice {
    /// `event` with the current time.
    #[must_use]
    pub fn now(event: Event) -> Self {
        Self {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            event,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.time, self.event)
    }
}

/// Something that whoever follows the daemon wants to see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A tail has begun: from here on nothing is missing.
    Following {
        /// What the daemon listens to.
        listening: String,
    },
    /// A tail was too slow for this many notices.
    Lost {
        /// How many.
        notices: u64,
    },
    /// A line of the XDP program's aya-log.
    Kernel {
        /// The line.
        message: String,
    },
    /// A block was tried and is no knock.
    Refused {
        /// Who sent it.
        source: IpAddr,
        /// Why not.
        reason: Reason,
        /// The client whose key fits, where that is sure.
        client: Option<String>,
        /// The reason in words.
        detail: String,
    },
    /// Refusals that the log has no lines of. Every tail has them.
    LeftOut {
        /// How many.
        refusals: u64,
        /// The address or the /64 that they came from; `None` for all that are not told apart.
        from: Option<String>,
    },
    /// A knock was accepted and its door opens.
    Opening(AdmissionInfo),
    /// A knock was accepted for a door that is open already.
    Extended(AdmissionInfo),
    /// A door is closed.
    Closed {
        /// Which.
        door: String,
        /// To whom it was open.
        source: IpAddr,
    },
    /// A command has ended.
    Command {
        /// The door that it belongs to.
        door: String,
        /// Who knocked.
        source: IpAddr,
        /// `run` or `close`.
        command: String,
        /// How it ended.
        ending: String,
        /// Whether that was exit status 0.
        ok: bool,
    },
    /// Another configuration has taken effect.
    Reloaded {
        /// What the daemon listens to now.
        listening: String,
    },
    /// Somebody is let in by the kernel, or no longer.
    Gate {
        /// The door that did it.
        door: String,
        /// Who.
        source: IpAddr,
        /// To which ports.
        ports: String,
        /// Whether he is let in.
        is_open: bool,
    },
    /// A line of the XDP program about what its gate would have dropped.
    Observed {
        /// Who, and where to.
        message: String,
    },
    /// Something that the administrator has to look at.
    Trouble {
        /// What.
        message: String,
    },
}

/// Who was let in, where, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionInfo {
    /// The client's name.
    pub client: String,
    /// The door's name.
    pub door: String,
    /// Where the knock came from.
    pub source: IpAddr,
    /// The lease in seconds.
    #[serde(rename = "lease")]
    pub seconds: u64,
}

impl fmt::Display for AdmissionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "door={:?} client={:?} source={} lease={}s",
            self.door, self.client, self.source, self.seconds
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Following { listening } => write!(f, "following knockd on {listening}"),
            Self::Lost { notices } => write!(f, "lost {notices} notices: this tail is too slow"),
            Self::Kernel { message } => write!(f, "kernel: {message}"),
            // Nothing that somebody else chose stands before the address and the reason:
            // programs read them (README.md, "What the log says").
            Self::Refused {
                source,
                reason,
                client,
                detail,
            } => {
                write!(f, "refused source={source} reason={reason}")?;
                if let Some(client) = client {
                    write!(f, " client={client:?}")?;
                }
                write!(f, ": {detail}")
            }
            Self::LeftOut { refusals, from } => {
                let from = from.as_deref().unwrap_or("other sources");
                write!(f, "{refusals} more refusals from {from} in the last minute")
            }
            Self::Opening(visitor) => write!(f, "accepted {visitor}: opening"),
            Self::Extended(visitor) => write!(f, "accepted {visitor}: open already, extended"),
            Self::Closed { door, source } => write!(f, "closed door={door:?} source={source}"),
            Self::Command {
                door,
                source,
                command,
                ending,
                ..
            } => write!(
                f,
                "command {command} door={door:?} source={source} {ending}"
            ),
            Self::Gate {
                door,
                source,
                ports,
                is_open,
            } => {
                let what = if *is_open { "open" } else { "closed" };
                write!(f, "gate {what} ports={ports} door={door:?} source={source}")
            }
            Self::Reloaded { listening } => {
                write!(f, "reloaded the configuration, listening on {listening}")
            }
            Self::Observed { message } => write!(f, "the gate would have dropped {message}"),
            Self::Trouble { message } => f.write_str(message),
        }
    }
}
