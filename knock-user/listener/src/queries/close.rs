//! `close`: the administrator closes a door, or all doors of an address.

use anyhow::Result;
use knockd_ipc::request::{CloseDoors, Request};
use knockd_types::control::CloseRequest;
use tokio::sync::oneshot;

use super::names::{check_host, door_named};
use crate::{
    pending::{Outcome, PendingQuery},
    state::Listener,
};

impl Listener {
    /// Requests the supervisor to close doors, after checking the request.
    pub(super) async fn close_doors(
        &mut self,
        request: &CloseRequest,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<()> {
        let door = match self.check_close(request) {
            Ok(door) => door,
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return Ok(());
            }
        };
        let close = CloseDoors {
            query: self.pending.add(PendingQuery::Command(reply)),
            door,
            source: request.source,
        };
        self.supervisor.send(&Request::Close(close)).await?;
        // Otherwise they would be open again after a restart.
        self.close_everywhere(&close, None).await
    }

    /// Closes doors on every node of the fleet, after checking the request.
    pub(super) async fn fleet_close(
        &mut self,
        request: &CloseRequest,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<()> {
        match self.check_close(request) {
            Ok(door) => {
                let close = CloseDoors {
                    query: 0,
                    door,
                    source: request.source,
                };
                self.close_everywhere(&close, Some(reply)).await
            }
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                Ok(())
            }
        }
    }

    /// The number of the door; `None` for all doors.
    fn check_close(&self, request: &CloseRequest) -> Result<Option<u32>, String> {
        check_host(request.source)?;
        let Some(name) = &request.door else {
            return Ok(None);
        };
        let door = door_named(&self.config.auth.doors, name)?;
        Ok(Some(door.number))
    }
}
