//! `open`: the administrator opens a door.

use std::time::Duration;

use anyhow::Result;
use knockd_ipc::request::{OpenDoor, Request};
use knockd_runtime::clock::monotonic;
use knockd_types::{
    control::OpenRequest,
    names::{BY_HAND_NUMBER, MAX_LEASE},
};
use tokio::sync::oneshot;

use super::names::{check_host, door_named};
use crate::{
    pending::{Outcome, PendingQuery},
    state::Listener,
};

impl Listener {
    /// Requests the supervisor to open a door, after checking the request.
    pub(super) async fn open_door(
        &mut self,
        request: &OpenRequest,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<()> {
        let (door, lease) = match self.check_open(request) {
            Ok(checked) => checked,
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return Ok(());
            }
        };
        let request = Request::Open(OpenDoor {
            query: self.pending.add(PendingQuery::Command(reply)),
            door,
            client: BY_HAND_NUMBER,
            source: request.source,
            lease,
            at: monotonic(),
            sender: request.source,
            is_datagram: false,
        });
        Ok(self.supervisor.send(&request).await?)
    }

    /// The number of the door, and the lease.
    fn check_open(&self, request: &OpenRequest) -> Result<(u32, Duration), String> {
        let door = door_named(&self.config.auth.doors, &request.door)?;
        let lease = request.seconds.map_or(door.lease, Duration::from_secs);
        if lease.is_zero() || lease > MAX_LEASE {
            return Err("a lease lasts from a second to 365 days".into());
        }
        check_host(request.source)?;
        Ok((door.number, lease))
    }
}
