//! Answers queries. There is a file for each verb of the control socket.

mod close;
mod leases;
mod metrics;
mod names;
mod open;
mod reload;
mod report;
mod status;
mod tail;

use anyhow::Result;

use crate::{query::Query, state::Listener};

impl Listener {
    /// Handles `query`. Most queries are answered once the supervisor has answered a request.
    ///
    /// # Errors
    ///
    /// Returns an error if the supervisor has exited.
    pub(crate) async fn handle_query(&mut self, query: Query) -> Result<()> {
        match query {
            Query::Status(reply) => self.query_status(reply).await,
            Query::Leases(reply) => self.query_leases(reply).await,
            Query::Metrics(reply) => self.query_metrics(reply).await,
            Query::Tail(reply) => self.start_tail(reply).await,
            Query::TailEnded => self.end_tail().await,
            Query::Verdicts(reply) => self.subscribe(reply).await,
            Query::Open(request, reply) => self.open_door(&request, reply).await,
            Query::Close(request, reply) => self.close_doors(&request, reply).await,
            Query::FleetClose(request, reply) => self.fleet_close(&request, reply).await,
            Query::FleetRevoke(client, reply) => self.revoke_everywhere(&client, reply).await,
            Query::FleetLeases(reply) => {
                // Fails if the administrator has left.
                let _ = reply.send(self.fleet_leases());
                Ok(())
            }
            Query::Reload(reply) => self.reload(reply).await,
        }
    }
}
