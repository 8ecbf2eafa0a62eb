//! Queries that wait for an answer of the supervisor.

use std::collections::HashMap;

use knockd_types::status::{DoorStatus, Status};
use tokio::sync::oneshot;

use crate::{metrics::snapshot::Snapshot, tails::Tail};

pub(crate) type Outcome = Result<Vec<String>, String>;

/// PendingQueries that the keeper has not answered yet. As many as there are connections at most.
#[derive(Debug, Default)]
pub(crate) struct PendingQueries {
    last: u32,
    pub(crate) open: HashMap<u32, PendingQuery>,
}

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) enum PendingQuery {
    Status(oneshot::Sender<Status>),
    Metrics(oneshot::Sender<Snapshot>),
    Tail(oneshot::Sender<(Tail, String)>),
    Leases(oneshot::Sender<Vec<DoorStatus>>),
    CommandReply(oneshot::Sender<Outcome>),
}

impl PendingQueries {
    /// A number for what `asker` wants to know, which no other open question has.
    pub(crate) fn ask(&mut self, asker: PendingQuery) -> u32 {
        // 0 is no question's number.
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.open.insert(self.last, asker);
        self.last
    }

    /// Whether somebody is about to follow.
    pub(crate) fn awaits_tail(&self) -> bool {
        let mut askers = self.open.values();
        askers.any(|asker| matches!(asker, PendingQuery::Tail(_)))
    }

    /// Passes the answer to a question about doors on.
    pub(crate) fn answer(&mut self, question: u32, outcome: Outcome) {
        if let Some(PendingQuery::CommandReply(reply)) = self.open.remove(&question) {
            // Whoever asked may have gone.
            let _ = reply.send(outcome);
        }
    }
}
