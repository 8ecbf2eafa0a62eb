//! Queries that wait for an answer of the supervisor.

use std::collections::HashMap;

use knockd_ipc::metrics::Snapshot;
use knockd_types::status::{DoorStatus, Status};
use tokio::sync::oneshot;

use crate::tails::Tail;

/// The names of the doors that an admin command concerns, or the reason that it cannot be executed.
pub(crate) type Outcome = Result<Vec<String>, String>;

/// Queries that the supervisor has not answered yet, by number. There are at most as many as
/// connections.
#[derive(Debug, Default)]
pub(crate) struct PendingQueries {
    last: u32,
    queries: HashMap<u32, PendingQuery>,
}

/// The channel that the answer is sent to.
#[derive(Debug)]
pub(crate) enum PendingQuery {
    Status(oneshot::Sender<Status>),
    Metrics(oneshot::Sender<Snapshot>),
    Tail(oneshot::Sender<(Tail, String)>),
    Leases(oneshot::Sender<Vec<DoorStatus>>),
    Command(oneshot::Sender<Outcome>),
}

impl PendingQueries {
    /// Adds `query`, and returns a number that no other pending query has.
    pub(crate) fn add(&mut self, query: PendingQuery) -> u32 {
        // 0 stands for no query.
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.queries.insert(self.last, query);
        self.last
    }

    /// Removes the query with this number.
    pub(crate) fn take(&mut self, number: u32) -> Option<PendingQuery> {
        self.queries.remove(&number)
    }

    /// Whether a subscriber is about to be added.
    pub(crate) fn awaits_tail(&self) -> bool {
        let mut queries = self.queries.values();
        queries.any(|query| matches!(query, PendingQuery::Tail(_)))
    }

    /// Answers an admin command with its outcome.
    pub(crate) fn answer(&mut self, number: u32, outcome: Outcome) {
        if let Some(PendingQuery::Command(reply)) = self.take(number) {
            // Fails if the client has disconnected.
            let _ = reply.send(outcome);
        }
    }
}
