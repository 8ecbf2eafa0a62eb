//! Claims of this node: what is claimed, and what happens without an answer.

use std::time::Duration;

use knockd_ipc::{
    fleet::{ClaimId, Order},
    request::{Request, WithdrawDoor},
};
use knockd_types::{fleet::WhenUnreachable, reason::Reason};

use super::{
    CLAIM_AGAIN, Command, Effect, Fleet, Link, Now, Waiting,
    keys::Tag,
    pending::{Answer, PendingClaim},
    record::{Claim, Kind},
};
use crate::accepted::AcceptedKnock;

impl Fleet {
    /// Whether a knock opens its door without the engine.
    pub(super) fn opens_alone(&self, knock: &AcceptedKnock) -> bool {
        match self.when_unreachable {
            // A door that closes is safe.
            _ if matches!(knock.request, Request::Withdraw(_)) => true,
            _ if self.is_revoked_now(knock) => false,
            WhenUnreachable::Refuse => false,
            WhenUnreachable::Bound => knock.is_bound,
            WhenUnreachable::Local => true,
        }
    }

    pub(super) fn claim_of(&self, knock: &AcceptedKnock, now: Now) -> Option<Claim> {
        let (kind, door, client, source, lease) = match &knock.request {
            Request::Open(open) => (Kind::Open, open.door, open.client, open.source, open.lease),
            Request::Withdraw(close) => {
                let WithdrawDoor {
                    door,
                    client,
                    source,
                } = *close;
                (Kind::Withdraw, door, client, source, Duration::ZERO)
            }
            _ => return None,
        };
        let (block, made_at) = match knock.single_use {
            Some(single_use) => (single_use.id, single_use.made_at),
            None => (random(), 0),
        };
        Some(Claim {
            kind,
            everywhere: self.names.opens_everywhere(door),
            lease,
            accepted_at: now.unix_ms,
            made_at,
            door: self.names.door_tag(door)?,
            client: self.names.client_tag(client)?,
            source,
            sender: knock.source,
            block,
            node: self.tag,
        })
    }

    pub(super) fn by_hand(&self, kind: Kind, now: Now) -> Claim {
        let nowhere = std::net::Ipv4Addr::UNSPECIFIED.into();
        Claim {
            kind,
            everywhere: true,
            lease: Duration::ZERO,
            accepted_at: now.unix_ms,
            made_at: 0,
            door: Tag::default(),
            client: Tag::default(),
            source: nowhere,
            sender: nowhere,
            block: random(),
            node: self.tag,
        }
    }

    pub(super) fn submit_command(
        &mut self,
        claim: Claim,
        command: Option<Command>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let waiting = command.map_or(Waiting::Opened, Waiting::Command);
        if let Some(Waiting::Command(command)) = self.submit(claim, waiting, now) {
            let full = "too many claims wait for the fleet's engine: try again".to_owned();
            effects.push(Effect::Answer(command, Err(full)));
        }
    }

    /// Orders a claim. Returns what waits for it if there is no room.
    pub(super) fn submit(&mut self, claim: Claim, waiting: Waiting, now: Now) -> Option<Waiting> {
        let id = claim.id(&self.keys);
        let record = claim.record(&self.keys);
        let until = now.monotonic + self.patience;
        let entry = PendingClaim::new(claim, record, waiting);
        let refused = self.pending.add(id, entry, until, now.unix_ms);
        if refused.is_none() {
            self.send(Order::Claim { id, record });
        }
        refused
    }

    /// Orders every claim again that was not read: the engine tells if it has it already.
    pub(super) fn submit_again(&self) {
        for (id, record) in self.pending.records() {
            self.send(Order::Claim { id, record });
        }
    }

    /// Orders what nothing waits for again. What was claimed by then is refused by the engine, and read.
    pub(super) fn submit_unclaimed(&self) {
        // After the next connection all of it is ordered.
        if matches!(self.link, Link::Connected { .. }) {
            for (id, record) in self.pending.unclaimed_records() {
                self.send(Order::Claim { id, record });
            }
        }
    }

    /// Plans to order again what has taken effect here and was not taken by the engine.
    pub(super) fn claim_later(&mut self, now: Now) {
        if self.pending.unclaimed() > 0 {
            self.claim_again.get_or_insert(now.monotonic + CLAIM_AGAIN);
        }
    }

    /// Handles that a claim was not read in time.
    pub(super) fn give_up(&mut self, id: &ClaimId, now: Now, effects: &mut Vec<Effect>) {
        let Some(entry) = self.pending.remove(id) else {
            return;
        };
        let reason = match (&self.link, &entry.answer) {
            (Link::Lost { reason }, _) => format!("the fleet's engine is not reached: {reason}"),
            (_, Some(Answer::Refused(why))) => {
                format!("the fleet's engine has not taken it: {why}")
            }
            (_, Some(Answer::Taken)) => {
                "the fleet's engine has taken it and has not sent it to this node in time"
                    .to_owned()
            }
            (_, None) => "the fleet's engine has not answered in time".to_owned(),
        };
        match entry.waiting {
            Waiting::Knock(knock) if self.opens_alone(&knock) => {
                effects.push(Effect::Accept(*knock));
                let opened = PendingClaim::new(entry.claim, entry.record, Waiting::Opened);
                self.pending.keep(*id, opened);
                self.claim_later(now);
            }
            Waiting::Knock(knock) => {
                effects.push(Effect::Refuse(*knock, Reason::Unreachable, reason));
            }
            Waiting::Command(command) => {
                let error = format!("{reason}; it may take effect later");
                effects.push(Effect::Answer(command, Err(error)));
            }
            Waiting::Opened => {}
        }
    }
}

/// Bytes that nobody has claimed before.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // Without random numbers the kernel does not start.
    getrandom::fill(&mut bytes).unwrap_or_else(|error| panic!("no random numbers: {error}"));
    bytes
}
