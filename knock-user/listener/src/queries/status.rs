//! `status`: the state of the daemon.

use anyhow::Result;
use knockd_ipc::message::Report;
use knockd_runtime::clock::monotonic;
use knockd_types::status::Status;
use tokio::sync::oneshot;

use crate::{pending::PendingQuery, state::Listener};

impl Listener {
    /// Requests a report for `status`.
    pub(super) async fn query_status(&mut self, reply: oneshot::Sender<Status>) -> Result<()> {
        self.request_report(PendingQuery::Status(reply), false)
            .await
    }

    /// The answer to `status`.
    pub(super) fn status(&mut self, report: Report) -> Status {
        let now = monotonic();
        self.forget_sources();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: now.saturating_sub(self.started).as_secs(),
            listening: report.listening,
            window_base: self.config.window().base(),
            awaited: report.awaited,
            attachments: report.attachments,
            refused: report.refused,
            gate: report.gate,
            doors: report.doors,
            sources_in_progress: self.assembler.sources(),
            tails: self.tails,
            landlock: self.has_landlock,
            fleet: self.fleet_status(),
            kernel: report.kernel,
            daemon: report.counters.with(&self.counters),
        }
    }
}
