//! What the claims of the stream do on this node.

use std::time::Duration;

use knockd_ipc::{
    fleet::{ClaimId, Record},
    request::{CloseDoors, ExpelClient, MirrorDoor, Request, WithdrawDoor},
};
use knockd_types::reason::Reason;
use tracing::warn;

use super::{
    CLOCK_WARNING, Effect, Fleet, Now, Waiting,
    keys::Tag,
    live::{Lease, Place},
    ms,
    pending::PendingClaim,
    record::{Claim, Kind},
};

impl Fleet {
    /// Handles a claim of the stream.
    pub(super) fn read(
        &mut self,
        id: ClaimId,
        record: &Record,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let claim = Claim::read(&self.keys, id, record);
        if claim.is_some_and(|claim| self.is_beyond_clock(&claim, now)) {
            self.invalid += 1;
            return;
        }
        let Some(claim) = claim else {
            self.invalid += 1;
            if self.warned_invalid.is_due(now.monotonic) {
                warn!(
                    "a claim that no node of the fleet has made is ignored ({} so far)",
                    self.invalid
                );
            }
            return;
        };
        let own = self.pending.remove(&id);
        let is_new = self.live.is_new(id, claim.until(), now.unix_ms);
        // An engine that sends a claim again must not open what was closed meanwhile.
        if claim.kind == Kind::Open && !is_new && own.is_none() {
            return;
        }
        let is_fresh = now.unix_ms.saturating_sub(claim.made_at) <= ms(self.max_skew);
        if claim.made_at > 0 && is_fresh && own.is_none() {
            effects.push(Effect::Remember(claim.block, claim.made_at));
        }
        self.note(&claim);
        match own {
            Some(PendingClaim {
                waiting,
                record: ours,
                ..
            }) if ours == *record => {
                self.carry_out(&claim, waiting, now, effects);
            }
            Some(PendingClaim { waiting, .. }) => {
                self.lost_to_other(&claim, waiting, effects);
                self.follow(&claim, now, effects);
            }
            None => self.follow(&claim, now, effects),
        }
    }

    fn is_beyond_clock(&mut self, claim: &Claim, now: Now) -> bool {
        let ahead = Duration::from_millis(claim.accepted_at.saturating_sub(now.unix_ms));
        let is_beyond = ahead > self.max_skew;
        if ahead > CLOCK_WARNING && self.warned_clock.is_due(now.monotonic) {
            warn!(
                "a claim was made {} s in the future{}: compare the clocks of the nodes (`knockd fleet status`)",
                ahead.as_secs(),
                if is_beyond { " and is ignored" } else { "" }
            );
        }
        is_beyond
    }

    /// Notes what `claim` changes, for a later start.
    fn note(&mut self, claim: &Claim) {
        match claim.kind {
            Kind::Open => self.live.open(claim),
            Kind::Withdraw => self.live.withdraw(claim),
            Kind::Close => self.live.close(claim.source, door_of(claim)),
            Kind::Revoke => {
                self.revoked.insert(claim.block);
                self.live.expel(claim.client);
            }
        }
    }

    /// Carries out what was claimed here.
    fn carry_out(&mut self, claim: &Claim, waiting: Waiting, now: Now, effects: &mut Vec<Effect>) {
        match waiting {
            // Revoked between the knock and its claim, or not read yet when it was accepted.
            Waiting::Knock(knock) if self.is_revoked_now(&knock) => {
                let detail = "the fleet has revoked this client's key".to_owned();
                effects.push(Effect::Refuse(*knock, Reason::Revoked, detail));
            }
            Waiting::Knock(mut knock) => {
                if let Request::Open(open) = &mut knock.request {
                    match left(claim.until(), now) {
                        Some(left) => open.lease = left,
                        None => {
                            let late = "its claim was read after the end of its lease".to_owned();
                            effects.push(Effect::Refuse(*knock, Reason::Unreachable, late));
                            return;
                        }
                    }
                }
                effects.push(Effect::Accept(*knock));
            }
            Waiting::Command(command) => {
                self.follow(claim, now, effects);
                effects.push(Effect::Answer(command, Ok(())));
            }
            // It took effect when it was claimed.
            Waiting::Opened => {}
        }
    }

    /// Handles that another node has claimed the same.
    fn lost_to_other(&self, claim: &Claim, waiting: Waiting, effects: &mut Vec<Effect>) {
        let node = self.nodes.name(claim.node).unwrap_or("another node");
        match waiting {
            Waiting::Knock(knock) => {
                let reason = match knock.is_bound {
                    true => Reason::Repeated,
                    false => Reason::Replayed,
                };
                let detail = format!("{node} has accepted this knock before");
                effects.push(Effect::Refuse(*knock, reason, detail));
            }
            // The same key was revoked before: that is what was asked for.
            Waiting::Command(command) => effects.push(Effect::Answer(command, Ok(()))),
            Waiting::Opened => warn!(
                "{node} had accepted a knock that has opened door {:?} to {} here while the fleet's engine was not reached",
                self.names.door_name(claim.door),
                claim.source
            ),
        }
    }

    /// Does what another node, or an earlier process of this one, has claimed.
    fn follow(&self, claim: &Claim, now: Now, effects: &mut Vec<Effect>) {
        if !self.is_current {
            // What is open or closed at the end of the stream becomes so then.
            return;
        }
        let request = match claim.kind {
            Kind::Open => {
                let lease = Lease {
                    client: claim.client,
                    node: claim.node,
                    sender: claim.sender,
                    until: claim.until(),
                    everywhere: claim.everywhere,
                };
                self.mirror(&(claim.door, claim.source), &lease, now)
            }
            Kind::Withdraw => self.withdrawal(claim),
            Kind::Close => self.closing(claim),
            Kind::Revoke => self.expulsion(claim.client, &claim.block),
        };
        effects.extend(request.map(Effect::Request));
    }

    /// Makes the doors of this node those of the stream, after it was read to its end.
    pub(super) fn catch_up(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.is_current = true;
        let closed = self.live.reach_end();
        let close = closed.into_iter().filter_map(|(door, source)| {
            Some(Request::Close(CloseDoors {
                query: 0,
                door: Some(self.names.door(door)?),
                source,
            }))
        });
        effects.extend(close.map(Effect::Request));
        let open = self.live.open_at(now.unix_ms);
        let requests = open.filter_map(|(place, lease)| self.mirror(place, lease, now));
        effects.extend(requests.map(Effect::Request));
        let revoked = self.names.numbers_with(&self.revoked);
        let expel = revoked.map(|client| Request::Expel(ExpelClient { client }));
        effects.extend(expel.map(Effect::Request));
    }

    fn mirror(&self, (door, source): &Place, lease: &Lease, now: Now) -> Option<Request> {
        if !lease.everywhere && lease.node != self.tag {
            return None;
        }
        let client = self.names.client(lease.client)?;
        if self.is_revoked(client) {
            return None;
        }
        Some(Request::Mirror(MirrorDoor {
            door: self.names.door(*door)?,
            client,
            source: *source,
            lease: left(lease.until, now)?,
            sender: lease.sender,
        }))
    }

    fn withdrawal(&self, claim: &Claim) -> Option<Request> {
        Some(Request::Withdraw(WithdrawDoor {
            door: self.names.door(claim.door)?,
            client: self.names.client(claim.client)?,
            source: claim.source,
        }))
    }

    fn closing(&self, claim: &Claim) -> Option<Request> {
        let door = match door_of(claim) {
            Some(door) => Some(self.names.door(door)?),
            None => None,
        };
        Some(Request::Close(CloseDoors {
            query: 0,
            door,
            source: claim.source,
        }))
    }

    fn expulsion(&self, client: Tag, fingerprint: &[u8; 16]) -> Option<Request> {
        let client = self.names.client(client)?;
        // With another key the client is another one.
        let is_same = self.names.client_fingerprint(client) == Some(*fingerprint);
        is_same.then_some(Request::Expel(ExpelClient { client }))
    }
}

/// The door that `claim` closes; `None` for every door.
fn door_of(claim: &Claim) -> Option<Tag> {
    (claim.door != Tag::default()).then_some(claim.door)
}

/// What is left until `until`, in Unix milliseconds: whole seconds, and at least one.
fn left(until: u64, now: Now) -> Option<Duration> {
    let left = until.checked_sub(now.unix_ms).filter(|left| *left > 0)?;
    Some(Duration::from_secs(left.div_ceil(1000)))
}
