//! Reports the supervisor's state, for `status`, `top` and the metrics.

use std::sync::Arc;

use knockd_ipc::{
    message::{Message, Report},
    request::GetReport,
};
use knockd_xdp::leases::Gate;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};
use tracing::warn;

use crate::state::Supervisor;

impl Supervisor {
    /// Sends a report, with the number of the kernel's leases if requested. They are counted in
    /// another thread, by one report at a time.
    pub(super) fn report(&mut self, request: GetReport) {
        let Ok(permit) = Arc::clone(&self.reports).try_acquire_owned() else {
            return self.listener.kill(&"it has too many pending queries");
        };
        let report = self.state();
        let counting = request.count_leases.then(|| self.start_counting());
        let Some((gate, counting)) = counting.flatten() else {
            let report = Message::Report(request.query, Box::new(report));
            return self.listener.send_holding(report, permit);
        };
        let outbox = self.listener.outbox();
        tokio::spawn(async move {
            let leases = count(gate, counting).await;
            let report = Report { leases, ..report };
            let report = Message::Report(request.query, Box::new(report));
            // The next message that must not be lost detects a listener that does not read.
            let _ = outbox.send_holding(report, permit);
        });
    }

    /// The gate, if no other report counts its leases.
    fn start_counting(&self) -> Option<(Gate, OwnedSemaphorePermit)> {
        let counting = Arc::<Semaphore>::clone(&self.counting)
            .try_acquire_owned()
            .ok()?;
        Some((self.datapath.gate_handle()?, counting))
    }

    fn state(&self) -> Report {
        let interfaces = self.datapath.interface_status();
        Report {
            listening: self.datapath.listening(),
            attachments: interfaces.attachments,
            awaited: interfaces.awaited,
            refused: interfaces.refused,
            gate: self
                .datapath
                .gate_status(&self.config, self.ledger.granted_leases()),
            doors: self.ledger.door_statuses(),
            leases: None,
            kernel: interfaces.kernel,
            counters: self.counters(),
        }
    }
}

/// The number of the leases of `gate`; `None` if it cannot be read.
async fn count(gate: Gate, counting: OwnedSemaphorePermit) -> Option<usize> {
    let count = move || {
        let _counting = counting;
        gate.leases().map(|leases| leases.len())
    };
    match spawn_blocking(count).await {
        Ok(Ok(leases)) => Some(leases),
        Ok(Err(error)) => {
            warn!("cannot count the leases of the gate: {error}");
            None
        }
        Err(_) => None,
    }
}
