//! The fleet: several nodes whose knocks and doors are one.
//!
//! A node that accepts a knock claims it. A claim is a record in a stream of the engine, which
//! accepts one claim of each knock. **A door opens, on every node, when its claim is read from the
//! stream**: so a knock opens once, whichever nodes have received it, and every node sees openings
//! and closings in the same order.
//!
//! The engine may take away and never give. Each record is authenticated with a key that the engine
//! does not have, and the supervisor checks door, client and time against its own configuration. A
//! hostile engine can withhold claims, which keeps doors closed, or open to the end of their leases
//! if it withholds a closing; and it sees addresses.
//!
//! This module does no I/O but the channel to the fleet process. What is to be done is an
//! [`Effect`].

mod built;
mod channel;
mod claiming;
mod holes;
mod keys;
mod live;
mod names;
mod nodes;
mod pending;
mod rare;
mod reading;
mod record;

use std::{collections::HashSet, os::fd::OwnedFd, time::Duration};

use anyhow::Result;
use knockd_ipc::{
    fleet::{Order, Outcome, Report},
    message::FleetConfig,
    request::{CloseDoors, Request},
};
use knockd_types::{
    fleet::WhenUnreachable,
    policy::Policy,
    reason::Reason,
    status::{FleetLease, FleetStatus},
};
use tracing::{info, warn};

pub(crate) use self::{
    built::Built,
    pending::{Command, Waiting},
};
use self::{
    channel::Channel,
    holes::Holes,
    keys::{Keys, Tag, tag},
    live::{Lease, Live, Place},
    names::Names,
    nodes::{ConfigDigest, Heard, Nodes},
    pending::{Answer, Pending},
    rare::Rare,
    record::{Claim, Kind},
};
use crate::accepted::AcceptedKnock;

/// A difference of clocks that is worth a warning: leases end wrong by as much.
const CLOCK_WARNING: Duration = Duration::from_secs(2);

/// The time after which what the engine has not taken is claimed again, if nothing waits for it.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);

/// What the listener has to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Carry out an accepted knock.
    Accept(AcceptedKnock),
    /// Refuse a knock that was accepted here.
    Refuse(AcceptedKnock, Reason, String),
    /// Refuse this knock from now on, which another node has accepted: its identity, and when it
    /// was made, in Unix milliseconds.
    Remember([u8; 16], u64),
    /// Send a request to the supervisor.
    Request(Request),
    /// Answer the administrator's command.
    Answer(Command, Result<(), String>),
}

/// Whether the engine is reached.
#[derive(Debug)]
enum Link {
    Connected { version: String },
    Lost { reason: String },
}

/// The time of both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// In Unix milliseconds.
    pub(crate) unix_ms: u64,
    /// On the clock of [`monotonic`](knockd_runtime::clock::monotonic).
    pub(crate) monotonic: Duration,
}

/// This node's part of the fleet.
#[derive(Debug)]
pub(crate) struct Fleet {
    keys: Keys,
    node: String,
    tag: Tag,
    when_unreachable: WhenUnreachable,
    patience: Duration,
    config: ConfigDigest,
    max_skew: Duration,
    names: Names,
    channel: Option<Channel>,
    link: Link,
    /// Whether every claim was read that there was when the fleet process was started.
    is_current: bool,
    pending: Pending,
    live: Live,
    revoked: HashSet<[u8; 16]>,
    nodes: Nodes,
    next_beat: Duration,
    last_beat: Duration,
    /// Whether the next beat asks the other nodes for theirs.
    asks: bool,
    /// Claims that were read and are of no node of the fleet, or beyond its clock.
    invalid: u64,
    /// Whoever controls the engine must not fill the log.
    warned_invalid: Rare,
    warned_clock: Rare,
    warned_lost: Rare,
    /// Whether SYN knocks reach this node as a whole.
    holes: Holes,
    /// Whether the next connection is logged: the first one, and one after a loss that was logged.
    tells_connection: bool,
    /// When what was not taken is claimed again.
    claim_again: Option<Duration>,
    /// Without the feature `fleet` there is no such value, and the compiler leaves out what needs one.
    _built: Built,
}

impl Fleet {
    /// A node that has read nothing yet.
    pub(crate) fn new(
        built: Built,
        config: &FleetConfig,
        policy: &Policy,
        max_skew: Duration,
    ) -> Self {
        let keys = Keys::new(&config.key);
        Self {
            names: Names::new(&keys, policy),
            keys,
            node: config.node.clone(),
            tag: tag(&config.node),
            when_unreachable: config.when_unreachable,
            patience: config.patience,
            config: config.digest,
            max_skew,
            channel: None,
            link: Link::Lost {
                reason: "the fleet process is not started yet".into(),
            },
            is_current: false,
            pending: Pending::default(),
            live: Live::default(),
            revoked: HashSet::new(),
            nodes: Nodes::default(),
            next_beat: Duration::ZERO,
            last_beat: Duration::ZERO,
            asks: true,
            invalid: 0,
            warned_invalid: Rare::default(),
            warned_clock: Rare::default(),
            warned_lost: Rare::default(),
            holes: Holes::default(),
            tells_connection: true,
            claim_again: None,
            _built: built,
        }
    }

    /// Adopts another configuration.
    pub(crate) fn reconfigure(
        &mut self,
        config: &FleetConfig,
        policy: &Policy,
        max_skew: Duration,
    ) {
        self.names = Names::new(&self.keys, policy);
        self.when_unreachable = config.when_unreachable;
        self.config = config.digest;
        self.max_skew = max_skew;
        self.next_beat = Duration::ZERO;
    }

    /// Uses the channel to a fleet process that was started. It sends the stream from its beginning.
    /// What was revoked stays so: the engine may not be reached, or withhold it.
    ///
    /// # Errors
    ///
    /// Returns an error if the event loop cannot wait for the channel.
    pub(crate) fn connect(&mut self, socket: OwnedFd) -> Result<()> {
        self.channel = Some(Channel::open(socket)?);
        self.is_current = false;
        self.live = Live::default();
        Ok(())
    }

    /// Appends the next reports of the fleet process to `reports`. Cancel-safe.
    pub(crate) async fn next(&mut self, reports: &mut Vec<Report>) {
        let Some(channel) = &mut self.channel else {
            return std::future::pending().await;
        };
        channel.next(reports).await;
        if reports.is_empty() {
            self.channel = None;
            self.lose("the fleet process has ended; knockd starts it again".into());
        }
    }

    /// When [`Self::wake`] has to be called.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let beat = self.channel.as_ref().map(|_| self.next_beat);
        [self.pending.next_deadline(), beat, self.claim_again]
            .into_iter()
            .flatten()
            .min()
    }

    /// Claims an accepted knock. What is to be done at once is appended to `effects`.
    pub(crate) fn claim(&mut self, knock: AcceptedKnock, now: Now, effects: &mut Vec<Effect>) {
        let Some(claim) = self.claim_of(&knock, now) else {
            let reason = "its door or client is not configured any more".to_owned();
            effects.push(Effect::Refuse(knock, Reason::Unreachable, reason));
            return;
        };
        let is_alone = matches!(self.link, Link::Lost { .. }) && self.opens_alone(&knock);
        let waiting = match is_alone {
            true => {
                effects.push(Effect::Accept(knock));
                Waiting::Opened
            }
            false => Waiting::Knock(Box::new(knock)),
        };
        if let Some(Waiting::Knock(knock)) = self.submit(claim, waiting, now) {
            let reason = "too many knocks wait for the fleet's engine".to_owned();
            effects.push(Effect::Refuse(*knock, Reason::Unreachable, reason));
        }
    }

    /// Closes the doors of an address on every node, or one of them. `command` is answered once the
    /// claim is read; without it this node need not know.
    pub(crate) fn close(
        &mut self,
        close: &CloseDoors,
        command: Option<Command>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let door = match close.door.map(|door| self.names.door_tag(door)) {
            Some(Some(door)) => door,
            // Every door.
            None => Tag::default(),
            Some(None) => {
                let error = "the door is not configured any more".to_owned();
                effects.extend(command.map(|command| Effect::Answer(command, Err(error))));
                return;
            }
        };
        let claim = Claim {
            door,
            source: close.source,
            sender: close.source,
            ..self.by_hand(Kind::Close, now)
        };
        self.submit_command(claim, command, now, effects);
    }

    /// Revokes the key of the client with this name on every node.
    pub(crate) fn revoke(
        &mut self,
        client: &str,
        command: Command,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(fingerprint) = self.names.fingerprint(client) else {
            let error = format!("there is no client {client:?} here: name one of this node's");
            effects.push(Effect::Answer(command, Err(error)));
            return;
        };
        let claim = Claim {
            client: tag(client),
            block: fingerprint,
            ..self.by_hand(Kind::Revoke, now)
        };
        self.submit_command(claim, Some(command), now, effects);
    }

    /// Whether the key of the client with this number is revoked.
    pub(crate) fn is_revoked(&self, client: u32) -> bool {
        !self.revoked.is_empty()
            && self
                .names
                .client_fingerprint(client)
                .is_some_and(|fingerprint| self.revoked.contains(&fingerprint))
    }

    /// Whether an accepted knock asks for a door with a key that is revoked by now.
    fn is_revoked_now(&self, knock: &AcceptedKnock) -> bool {
        matches!(&knock.request, Request::Open(open) if self.is_revoked(open.client))
    }

    /// Handles what the fleet process reports.
    pub(crate) fn handle(&mut self, report: Report, now: Now, effects: &mut Vec<Effect>) {
        match report {
            Report::Connected { version } => {
                if std::mem::take(&mut self.tells_connection) {
                    info!("connected to the fleet's engine, NATS {version}");
                }
                self.link = Link::Connected { version };
                self.asks = true;
                self.next_beat = Duration::ZERO;
                self.submit_again();
            }
            Report::Lost { reason } => {
                if self.warned_lost.is_due(now.monotonic) {
                    warn!("the fleet's engine is not reached: {reason}");
                    self.tells_connection = true;
                }
                self.lose(reason);
            }
            Report::Read { id, record } => self.read(id, &record, now, effects),
            // Again after each connection.
            Report::Current if self.is_current => {}
            Report::Current => self.catch_up(now, effects),
            Report::Outcome { id, outcome } => match outcome {
                Outcome::Created | Outcome::Exists => self.pending.note(&id, Answer::Taken),
                Outcome::Unknown { reason } => {
                    self.pending.note(&id, Answer::Refused(reason));
                    self.claim_later(now);
                }
            },
            Report::Beat { node, text } => {
                let Now { unix_ms, monotonic } = now;
                match self
                    .nodes
                    .hear(&self.keys, &node, &text, unix_ms, monotonic)
                {
                    Heard::Forged => self.invalid += 1,
                    Heard::New { asks: true } if node != self.node => self.answer_beat(now),
                    Heard::New { .. } | Heard::Old => {}
                }
            }
        }
    }

    /// Handles what is due: knocks whose claims were not read in time, and the beat.
    pub(crate) fn wake(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.channel.is_some() && self.next_beat <= now.monotonic {
            self.beat(now);
        }
        while let Some(id) = self.pending.due(now.monotonic) {
            self.give_up(&id, now, effects);
        }
        if self
            .claim_again
            .take_if(|due| *due <= now.monotonic)
            .is_some()
        {
            self.submit_unclaimed();
        }
    }

    /// Notes SYN knocks of which this node has received a part. `now` is on the clock of `monotonic`.
    pub(crate) fn note_holes(&mut self, knocks: u64, now: Duration) {
        if self.holes.add(knocks, now) {
            warn!(
                "SYN knocks reach this node with holes: the balancer has to choose nodes by source address alone, or clients use datagram knocks (`knockd fleet status` says how many)"
            );
        }
    }

    /// Notes a SYN knock that this node has received as a whole, likewise.
    pub(crate) fn note_whole(&mut self, now: Duration) {
        self.holes.add_whole(now);
    }

    /// The state, for `status`.
    pub(crate) fn status(&self, now: Now) -> FleetStatus {
        let (connected, problem) = match &self.link {
            Link::Connected { version } => (Some(version.clone()), None),
            Link::Lost { reason } => (None, Some(reason.clone())),
        };
        FleetStatus {
            node: self.node.clone(),
            connected,
            problem,
            current: self.is_current,
            waiting: self.pending.waiting(),
            unclaimed: self.pending.unclaimed(),
            revoked: self.names.clients_with(&self.revoked),
            knocks_with_holes: self.holes.status(now.monotonic),
            nodes: self.nodes.status(self.config, now.monotonic),
        }
    }

    /// The doors that claims have opened.
    pub(crate) fn leases(&self, now: Now) -> Vec<FleetLease> {
        let shown = |(place, lease): (&Place, &Lease)| FleetLease {
            door: self.names.door_name(place.0),
            client: self.names.client_name(lease.client),
            source: place.1,
            node: match self.nodes.name(lease.node) {
                _ if lease.node == self.tag => self.node.clone(),
                Some(name) => name.to_owned(),
                None => "a node that was not heard yet".into(),
            },
            everywhere: lease.everywhere,
            seconds_left: (lease.until - now.unix_ms).div_ceil(1000),
        };
        self.live.open_at(now.unix_ms).map(shown).collect()
    }

    fn beat(&mut self, now: Now) {
        self.next_beat = now.monotonic + nodes::INTERVAL;
        self.last_beat = now.monotonic;
        let asks = std::mem::take(&mut self.asks);
        let text = nodes::beat(&self.keys, &self.node, self.config, now.unix_ms, asks);
        if let Some(text) = text {
            let node = self.node.clone();
            // Whoever misses one hears the next.
            self.send(Order::Beat { node, text });
        }
    }

    /// Tells a node that has just been connected about this one.
    fn answer_beat(&mut self, now: Now) {
        let soonest = now.monotonic.max(self.last_beat + nodes::MIN_INTERVAL);
        self.next_beat = self.next_beat.min(soonest);
    }

    fn lose(&mut self, reason: String) {
        self.link = Link::Lost { reason };
    }

    fn send(&self, order: Order) -> bool {
        self.channel
            .as_ref()
            .is_some_and(|channel| channel.send(order))
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[cfg(feature = "fleet")]
mod tests;
