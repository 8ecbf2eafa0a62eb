//! Claims that were ordered and not read yet.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use knockd_ipc::fleet::{ClaimId, MAX_CLAIMS, Record};
use tokio::sync::oneshot;

use super::record::Claim;
use crate::{accepted::AcceptedKnock, pending::Outcome};

/// A command of the administrator that waits for its claim.
#[derive(Debug)]
pub(crate) struct Command {
    /// Where the answer goes.
    pub(crate) reply: oneshot::Sender<Outcome>,
    /// What the answer names if it took effect.
    pub(crate) names: Vec<String>,
}

/// What waits for a claim.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// An accepted knock.
    Knock(Box<AcceptedKnock>),
    /// A command of the administrator.
    Command(Command),
    /// Nothing: it has taken effect on this node.
    Opened,
}

/// A claim that was ordered.
#[derive(Debug)]
pub(super) struct PendingClaim {
    pub(super) claim: Claim,
    pub(super) record: Record,
    pub(super) waiting: Waiting,
    /// What the engine has answered last.
    pub(super) answer: Option<Answer>,
}

/// What the engine answers to a claim that was not read yet.
#[derive(Debug)]
pub(super) enum Answer {
    /// It has the claim.
    Taken,
    /// It has not taken the claim, for this reason.
    Refused(String),
}

impl PendingClaim {
    pub(super) fn new(claim: Claim, record: Record, waiting: Waiting) -> Self {
        Self {
            claim,
            record,
            waiting,
            answer: None,
        }
    }

    fn waits(&self) -> bool {
        !matches!(self.waiting, Waiting::Opened)
    }
}

/// Claims by identity, with their deadlines.
#[derive(Debug, Default)]
pub(super) struct Pending {
    claims: HashMap<ClaimId, PendingClaim>,
    /// In the order of time: every claim waits for as long. Also of claims that were removed.
    deadlines: VecDeque<(Duration, ClaimId)>,
}

impl Pending {
    /// Adds a claim that is to be read until `deadline`. Returns what waits for it if there is no
    /// room.
    pub(super) fn add(
        &mut self,
        id: ClaimId,
        entry: PendingClaim,
        deadline: Duration,
        now: u64,
    ) -> Option<Waiting> {
        if self.claims.len() >= MAX_CLAIMS {
            self.claims
                .retain(|_, entry| entry.waits() || entry.claim.until() > now);
        }
        if self.claims.len() >= MAX_CLAIMS {
            return Some(entry.waiting);
        }
        if entry.waits() {
            self.deadlines.push_back((deadline, id));
        }
        self.claims.insert(id, entry);
        None
    }

    /// Keeps a claim that waits no longer, until it is read.
    pub(super) fn keep(&mut self, id: ClaimId, entry: PendingClaim) {
        self.claims.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: &ClaimId) -> Option<PendingClaim> {
        self.claims.remove(id)
    }

    /// Notes what the engine has answered to a claim.
    pub(super) fn note(&mut self, id: &ClaimId, answer: Answer) {
        if let Some(entry) = self.claims.get_mut(id) {
            entry.answer = Some(answer);
        }
    }

    /// When a claim is due.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// The next claim that is due at `now` and still waits.
    pub(super) fn due(&mut self, now: Duration) -> Option<ClaimId> {
        while let Some((_, id)) = self
            .deadlines
            .pop_front_if(|(deadline, _)| *deadline <= now)
        {
            if self.claims.get(&id).is_some_and(PendingClaim::waits) {
                return Some(id);
            }
        }
        None
    }

    /// Those that nothing waits for.
    pub(super) fn unclaimed_records(&self) -> impl Iterator<Item = (ClaimId, Record)> {
        let unclaimed = self.claims.iter().filter(|(_, entry)| !entry.waits());
        unclaimed.map(|(id, entry)| (*id, entry.record))
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (ClaimId, Record)> {
        self.claims.iter().map(|(id, entry)| (*id, entry.record))
    }

    /// The number of those that something waits for.
    pub(super) fn waiting(&self) -> usize {
        self.claims.values().filter(|entry| entry.waits()).count()
    }

    /// The number of those that nothing waits for.
    pub(super) fn unclaimed(&self) -> usize {
        self.claims.len() - self.waiting()
    }
}
