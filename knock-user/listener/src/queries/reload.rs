//! `reload`: the supervisor reads its configuration again.

use anyhow::Result;
use knockd_ipc::request::{ReloadConfig, Request};
use tokio::sync::oneshot;

use crate::{
    pending::{Outcome, PendingQuery},
    state::Listener,
};

impl Listener {
    /// Requests the supervisor to reload the configuration.
    pub(super) async fn reload(&mut self, reply: oneshot::Sender<Outcome>) -> Result<()> {
        let query = self.pending.add(PendingQuery::Command(reply));
        let request = Request::Reload(ReloadConfig { query });
        Ok(self.supervisor.send(&request).await?)
    }
}
