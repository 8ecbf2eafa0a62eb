//! What happened, told once: to the log, to everybody who tails, and to the counters.

use std::{fmt, net::IpAddr, time::SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tracing::Level;

use super::{inner::outbox::Outbox, log::EVENT, refusals::Reason};

/// Notices that a slow tail may lag behind before it loses some. Small: a notice is a few
/// hundred bytes, and whoever reads that slowly has lost already.
const MAX_LAG: usize = 1024;

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
    pub(super) fn now(event: Event) -> Self {
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
    Opening(Visitor),
    /// A knock was accepted for a door that is open already.
    Extended(Visitor),
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
pub struct Visitor {
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

impl fmt::Display for Visitor {
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

impl Event {
    /// How much it matters; `None` for what is not for the log.
    fn level(&self) -> Option<Level> {
        match self {
            // The kernel's lines are only written while somebody tails: they are for him.
            Self::Following { .. } | Self::Lost { .. } | Self::Kernel { .. } => None,
            Self::Refused { .. }
            | Self::LeftOut { .. }
            | Self::Opening(_)
            | Self::Extended(_)
            | Self::Closed { .. }
            | Self::Gate { .. }
            | Self::Reloaded { .. }
            | Self::Observed { .. }
            | Self::Command { ok: true, .. } => Some(Level::INFO),
            Self::Command { ok: false, .. } => Some(Level::WARN),
            Self::Trouble { .. } => Some(Level::ERROR),
        }
    }

    fn log(&self, level: Level) {
        // The level of an entry is fixed where it is written.
        macro_rules! log_at {
            ($($level:ident),+) => {
                match level {
                    $(Level::$level => {
                        tracing::event!(Level::$level, { EVENT } = self.json(), "{self}");
                    })+
                }
            };
        }
        log_at!(ERROR, WARN, INFO, DEBUG, TRACE);
    }

    /// Its fields, for the log's other formats.
    fn json(&self) -> String {
        // Text and numbers: there is nothing that JSON does not have.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The log, and everybody who tails: here, or in the listener.
#[derive(Clone, Debug)]
pub struct Reporter {
    tails: broadcast::Sender<Notice>,
    listener: Outbox,
}

impl Default for Reporter {
    fn default() -> Self {
        Self::with_listener(Outbox::default())
    }
}

impl Reporter {
    /// A reporter whose tails are in the process behind `listener`.
    #[must_use]
    pub fn with_listener(listener: Outbox) -> Self {
        Self {
            tails: broadcast::Sender::new(MAX_LAG),
            listener,
        }
    }

    /// Tells every tail what is in the log already; whether there is one.
    pub fn relay(&self, notice: Notice) -> bool {
        self.tails.send(notice).is_ok()
    }

    /// Tells `event` to the log and to every tail.
    pub fn report(&self, event: Event) {
        if let Some(level) = event.level() {
            event.log(level);
        }
        self.tell_tails(event);
    }

    /// Tells `event` to every tail, and to the log only where that is to have everything.
    pub fn report_quietly(&self, event: Event) {
        event.log(Level::DEBUG);
        self.tell_tails(event);
    }

    /// Tells `event` to the log alone.
    pub fn log(&self, event: &Event) {
        if let Some(level) = event.level() {
            event.log(level);
        }
    }

    fn tell_tails(&self, event: Event) {
        if self.tails.receiver_count() > 0 {
            // Fails only if the last tail has gone meanwhile.
            let _ = self.tails.send(Notice::now(event.clone()));
        }
        self.listener.notify(event);
    }

    /// Everything that is reported from now on.
    #[must_use]
    pub fn tail(&self) -> Tail {
        Tail(self.tails.subscribe())
    }
}

/// One follower's notices. A slow one loses some; it never holds the daemon up.
#[derive(Debug)]
pub struct Tail(broadcast::Receiver<Notice>);

impl Tail {
    /// The next notice; `None` when the daemon stops.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.0.recv().await {
            Ok(notice) => Some(notice),
            Err(broadcast::error::RecvError::Lagged(notices)) => {
                Some(Notice::now(Event::Lost { notices }))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The XDP program's aya-log lines become notices.
impl log::Log for Reporter {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let message = record.args().to_string();
        self.report(match record.level() {
            // The only lines of this level; see knock-ebpf's gate.
            log::Level::Warn => Event::Observed { message },
            _ => Event::Kernel { message },
        });
    }

    fn flush(&self) {}
}

/// Declares the daemon's counters with their explanations in one place.
macro_rules! counters {
    ($($name:ident: $what:literal;)+) => {
        /// What the daemon has counted since it started; the kernel's counters are
        /// [`knock_common::counters::Outcome`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Counters {
            $(#[doc = $what] pub $name: u64,)+
        }

        impl Counters {
            /// These and those that the other process has counted.
            #[must_use]
            pub fn with(&self, others: &Self) -> Self {
                Self { $($name: self.$name + others.$name,)+ }
            }

            /// Every counter: name, value, explanation.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> {
                [$((stringify!($name), self.$name, $what),)+].into_iter()
            }
        }
    };
}

counters! {
    events: "SYNs that came in from the kernel or as lines";
    not_unicast: "SYNs with a source address that no single host has";
    retransmissions: "SYNs that were known already";
    sources_evicted: "sources whose half-finished knock made room for others";
    attempts: "blocks of 16 SYNs tried against the keys";
    attempts_limited: "blocks left untried because their source tried too many";
    refused_bad_parity: "blocks that no key fits";
    refused_unknown_sequence: "blocks with a classic key's parity but no door's sequence";
    refused_unknown_tag: "sealed knocks for a door that is not there";
    refused_client_not_allowed: "knocks of a client at a door that is not his";
    refused_stale: "sealed knocks made too long ago or in the future: check the client's clock";
    refused_binding: "sealed knocks from another address than they were made for";
    refused_replayed: "sealed knocks that were accepted before";
    refused_store: "sealed knocks refused because they cannot be remembered: look at the log";
    copies: "further copies of a sealed knock that was just accepted";
    accepted: "knocks accepted";
    extended: "knocks accepted for a door that was open already";
    refused_doors_full: "knocks accepted but turned away because too many doors are open";
    refused_gate_full: "knocks accepted but turned away because the gate has no room for a lease";
    commands_succeeded: "commands that ended with exit status 0";
    commands_failed: "commands that failed, hung or could not be started";
    closings_given_up: "closing commands that failed again and again: look at the log";
    interfaces_attached: "interfaces attached to, at the start and since";
    interfaces_lost: "interfaces that have gone or were renamed since";
    reloads: "configurations that took effect without a restart";
    reloads_refused: "configurations that were wrong, or take a restart: look at the log";
    listener_restarts: "times that the network-facing process had to be started again: look at the log";
    lines_skipped: "lines that are not `destination_port source_ip`";
    lines_outside_window: "lines with a port outside the window";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(detail: &str) -> Event {
        Event::Refused {
            source: [192, 0, 2, 7].into(),
            reason: Reason::Replayed,
            client: None,
            detail: detail.into(),
        }
    }

    #[tokio::test]
    async fn every_tail_gets_every_notice() {
        let reporter = Reporter::default();
        reporter.report(refused("before"));
        let mut tails = [reporter.tail(), reporter.tail()];
        reporter.report(refused("one"));
        reporter.report(refused("two"));
        for tail in &mut tails {
            assert_eq!(tail.next().await.unwrap().event, refused("one"));
            assert_eq!(tail.next().await.unwrap().event, refused("two"));
        }
        drop(reporter);
        assert!(tails[0].next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_tail_loses_the_oldest_and_is_told() {
        let reporter = Reporter::default();
        let mut tail = reporter.tail();
        for _ in 0..MAX_LAG + 10 {
            reporter.report(refused("flood"));
        }
        assert_eq!(
            tail.next().await.unwrap().event,
            Event::Lost { notices: 10 }
        );
        assert_eq!(tail.next().await.unwrap().event, refused("flood"));
    }

    #[test]
    fn a_notice_survives_the_socket() {
        let notice = Notice::now(Event::Opening(Visitor {
            client: "laptop".into(),
            door: "ssh".into(),
            source: [192, 0, 2, 7].into(),
            seconds: 30,
        }));
        let json = serde_json::to_string(&notice).unwrap();
        let read: Notice = serde_json::from_str(&json).unwrap();
        assert_eq!(read.to_string(), notice.to_string());
        assert!(notice.to_string().ends_with(
            "accepted door=\"ssh\" client=\"laptop\" source=192.0.2.7 lease=30s: opening"
        ));
    }
}
