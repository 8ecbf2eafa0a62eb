//! `leases`: the open doors.

use anyhow::Result;
use knockd_types::status::DoorStatus;
use tokio::sync::oneshot;

use crate::{pending::PendingQuery, state::Listener};

impl Listener {
    /// Requests a report for `leases`.
    pub(super) async fn query_leases(
        &mut self,
        reply: oneshot::Sender<Vec<DoorStatus>>,
    ) -> Result<()> {
        self.request_report(PendingQuery::Leases(reply), false)
            .await
    }
}
