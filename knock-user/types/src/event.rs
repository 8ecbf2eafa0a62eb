//! Events that the daemon reports to its log, the journal and its `tail` subscribers.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{reason::Reason, utc};

/// An event with its time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

impl Notice {
    /// `event` with the current time.
    #[must_use]
    pub fn now(event: Event) -> Self {
        Self {
            time: utc::millis(utc::now()),
            event,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.time, self.event)
    }
}

/// An event that the daemon reports. The serialized form is part of the interface of the daemon:
/// the JSON log, `knockd tail --json` and the journal's fields use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first notice of a `tail` subscription. The subscriber receives every later event.
    Following {
        /// The interfaces or the file that the daemon listens to.
        listening: String,
    },
    /// The subscriber did not read fast enough: notices were dropped.
    Lost {
        /// The number of dropped notices.
        notices: u64,
    },
    /// A line of the XDP program's aya-log.
    Kernel {
        /// The line.
        message: String,
    },
    /// A block of 16 SYNs, or a datagram, was refused.
    Refused {
        /// The source address of the packets.
        source: IpAddr,
        /// The reason as a stable word.
        reason: Reason,
        /// The client whose key matches, if that is certain.
        client: Option<String>,
        /// The reason as a sentence.
        detail: String,
    },
    /// Refusals beyond the rate limit of the log. `tail` subscribers receive each of them.
    LeftOut {
        /// The number of refusals.
        refusals: u64,
        /// The IPv4 address or IPv6 /64 of the sources. `None`: the sources that are not counted
        /// separately.
        from: Option<String>,
    },
    /// A knock was accepted and its door opens.
    Opening(AdmissionInfo),
    /// A knock was accepted for a door that is open already.
    Extended(AdmissionInfo),
    /// A knock was accepted that was made with the key that its client had before.
    OldKey {
        /// The client's name.
        client: String,
        /// The source address of the packets.
        source: IpAddr,
        /// The time from which on the key is not accepted: RFC 3339, UTC.
        until: String,
    },
    /// A door is closed.
    Closed {
        /// The door's name.
        door: String,
        /// The source address that it was open for.
        source: IpAddr,
    },
    /// A command has ended.
    Command {
        /// The name of its door.
        door: String,
        /// The source address of the knock.
        source: IpAddr,
        /// `run` or `close`.
        command: String,
        /// The outcome as a phrase, such as `failed: exit status: 3`.
        ending: String,
        /// Whether it ended with exit status 0.
        ok: bool,
    },
    /// A reloaded configuration has taken effect.
    Reloaded {
        /// The interfaces or the file that the daemon listens to.
        listening: String,
    },
    /// The gate admits a source, or stops admitting it.
    Gate {
        /// The name of the door that grants the leases.
        door: String,
        /// The source address.
        source: IpAddr,
        /// The ports, separated by commas.
        ports: String,
        /// Whether the source is admitted.
        is_open: bool,
    },
    /// A line of the XDP program about a packet that its gate would have dropped.
    Observed {
        /// The packet's source and destination.
        message: String,
    },
    /// A problem that requires action by the administrator. It is logged as an error.
    Trouble {
        /// The problem and the recommended action.
        message: String,
    },
}

/// An admitted client: its door, source address and lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionInfo {
    /// The client's name.
    pub client: String,
    /// The door's name.
    pub door: String,
    /// The source address of the knock.
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
            Self::Lost { notices } => {
                write!(f, "{notices} notices dropped: this subscriber is too slow")
            }
            Self::Kernel { message } => write!(f, "kernel: {message}"),
            // Programs parse the address and the reason (docs/logs.md, "Stable lines"). No text
            // that a peer or the configuration chooses may precede them.
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
            Self::Opening(admission) => write!(f, "accepted {admission}: opening"),
            Self::Extended(admission) => write!(f, "accepted {admission}: open already, extended"),
            Self::OldKey {
                client,
                source,
                until,
            } => write!(
                f,
                "old key client={client:?} source={source}: it still knocks with its `previous_key`, which is accepted until {until}"
            ),
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
