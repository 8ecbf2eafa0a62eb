//! What other nodes of the fleet have caused. The listener has read it from the claims, and checked
//! that a node has written it.

use std::time::Duration;

use knockd_ipc::request::{ExpelClient, MirrorDoor};
use knockd_runtime::clock::monotonic;
use knockd_types::history::{How, Via};
use tracing::{info, warn};

use super::granted::Wanted;
use crate::{
    doors::{DoorKey, Grant},
    ledger::Knock,
    refusal::Refusal,
    state::Supervisor,
};

impl Supervisor {
    /// Opens a door that a knock at another node has opened, if the configuration of this one allows
    /// it.
    pub(super) fn mirror(&mut self, request: MirrorDoor) {
        let outcome = self.mirror_door(&request);
        self.answer(0, outcome.map(|()| Vec::new()));
    }

    fn mirror_door(&mut self, request: &MirrorDoor) -> Result<(), Refusal> {
        let (key, grant) = self.granted(&Wanted {
            door: request.door,
            client: request.client,
            source: request.source,
            sender: request.sender,
            lease: request.lease,
        })?;
        if self.grants_already(key, grant) {
            return Ok(());
        }
        let knock = Knock {
            sender: (request.sender != request.source).then_some(request.sender),
            via: Some(Via::Fleet),
            arrival: None,
        };
        if !self.ledger.open(&mut self.datapath, key, grant, knock) {
            self.counters.refused_doors_full += 1;
            warn!(
                "door {:?} stays closed to {}, for which another node has opened it: as many doors are open as `limits.open_doors` allows",
                self.ledger.catalog().door(key.door).name,
                key.source
            );
        }
        Ok(())
    }

    /// Whether the door is open for as long already, but for the part of a second that is rounded up.
    /// After a start every claim is read again, and the doors of most of them were restored.
    fn grants_already(&self, key: DoorKey, grant: Grant) -> bool {
        let until = monotonic().saturating_add(grant.lease);
        self.ledger.open_door(key).is_some_and(|open| {
            let reaches = open.until.saturating_add(Duration::from_secs(1)) >= until;
            open.client == grant.client && open.admits && reaches
        })
    }

    /// Closes everything that a client has open.
    pub(super) fn expel(&mut self, request: ExpelClient) {
        let client = match self.ledger.catalog().requested_client(request.client) {
            Ok(client) => client,
            Err(refusal) => return self.answer(0, Err(refusal)),
        };
        let name = self.ledger.catalog().client(client).to_owned();
        let open: Vec<_> = self.ledger.open_doors().collect();
        for open in open.into_iter().filter(|open| open.client == client) {
            info!(
                "closing door {:?} to {}: the fleet has revoked the key of client {name:?}",
                self.ledger.catalog().door(open.key.door).name,
                open.key.source
            );
            self.ledger
                .revoke(&mut self.datapath, open.key, How::Revoked);
        }
    }
}
