//! Reports of the supervisor, which several queries need.

use anyhow::Result;
use knockd_ipc::{
    message::Report,
    request::{GetReport, Request},
};

use crate::{pending::PendingQuery, state::Listener};

impl Listener {
    /// Requests a report for `query`.
    pub(super) async fn request_report(
        &mut self,
        query: PendingQuery,
        count_leases: bool,
    ) -> Result<()> {
        let request = Request::Report(GetReport {
            query: self.pending.add(query),
            count_leases,
        });
        Ok(self.supervisor.send(&request).await?)
    }

    /// Answers the query with this number from `report` and from the state of this process.
    pub(crate) fn receive_report(&mut self, number: u32, report: Report) {
        // Sending fails if the client has disconnected.
        match self.pending.take(number) {
            Some(PendingQuery::Status(reply)) => drop(reply.send(self.status(report))),
            Some(PendingQuery::Metrics(reply)) => drop(reply.send(self.snapshot(report))),
            Some(PendingQuery::Tail(reply)) => drop(reply.send(self.tail(report))),
            Some(PendingQuery::Leases(reply)) => drop(reply.send(report.doors)),
            Some(PendingQuery::Command(_)) | None => {}
        }
    }
}
