//! A snapshot for the metrics exporter.

use anyhow::Result;
use knockd_ipc::{message::Report, metrics::Snapshot};
use tokio::sync::oneshot;

use crate::{pending::PendingQuery, state::Listener};

impl Listener {
    /// Requests a report for the exporter, with the number of the kernel's leases.
    pub(super) async fn query_metrics(&mut self, reply: oneshot::Sender<Snapshot>) -> Result<()> {
        self.request_report(PendingQuery::Metrics(reply), true)
            .await
    }

    /// The answer to the exporter.
    pub(super) fn snapshot(&mut self, report: Report) -> Snapshot {
        self.forget_sources();
        let open_doors = self.config.auth.doors.iter().map(|door| {
            let open = report.doors.iter().filter(|open| open.door == door.name);
            (door.name.clone(), open.count())
        });
        Snapshot {
            started: self.metrics.started,
            open_doors: open_doors.collect(),
            kernel: report.kernel,
            daemon: report.counters.with(&self.counters),
            gate: report.gate.map(|gate| gate.mode),
            leases: report.leases,
            attachments: report.attachments,
            sources_in_progress: self.assembler.sources(),
            tails: self.tails,
            landlock: self.has_landlock,
            gate_opening: self.metrics.gate_opening.clone(),
            command_start: self.metrics.command_start.clone(),
        }
    }
}
