//! `tail` and `verdicts`: subscriptions to notices.

use anyhow::Result;
use knockd_ipc::{message::Report, request::Request};
use tokio::sync::oneshot;

use crate::{pending::PendingQuery, state::Listener, tails::Tail};

impl Listener {
    /// Adds a `tail` subscriber, and switches the eBPF program's log lines on.
    pub(super) async fn start_tail(
        &mut self,
        reply: oneshot::Sender<(Tail, String)>,
    ) -> Result<()> {
        self.tails += 1;
        self.supervisor.send(&Request::Follow(true)).await?;
        self.subscribe(reply).await
    }

    /// Removes a `tail` subscriber. The last one switches the eBPF program's log lines off.
    pub(super) async fn end_tail(&mut self) -> Result<()> {
        self.tails = self.tails.saturating_sub(1);
        if self.tails == 0 {
            self.supervisor.send(&Request::Follow(false)).await?;
        }
        Ok(())
    }

    /// Adds a subscriber once the supervisor has answered, so that no notice is missing after that.
    pub(super) async fn subscribe(&mut self, reply: oneshot::Sender<(Tail, String)>) -> Result<()> {
        if !self.notices_on {
            self.notices_on = true;
            self.supervisor.send(&Request::Notify(true)).await?;
        }
        self.request_report(PendingQuery::Tail(reply), false).await
    }

    /// The answer to `tail` and `verdicts`.
    pub(super) fn tail(&self, report: Report) -> (Tail, String) {
        (self.reporter.tail(), report.listening)
    }
}
