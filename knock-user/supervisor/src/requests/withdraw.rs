//! Closes a door, for an accepted knock that asks for it.

use knockd_ipc::request::WithdrawDoor;
use knockd_types::history::How;
use tracing::info;

use crate::{doors::DoorKey, refusal::Refusal, state::Supervisor};

impl Supervisor {
    /// Closes a door that a knock of the same client has opened.
    pub(super) fn withdraw(&mut self, request: WithdrawDoor) {
        let outcome = self.withdraw_door(&request);
        self.answer(0, outcome.map(|()| Vec::new()));
    }

    /// A client that may not open the door may not close it either. A door that another client, or
    /// the administrator, has opened for the same address stays open.
    fn withdraw_door(&mut self, request: &WithdrawDoor) -> Result<(), Refusal> {
        let catalog = self.ledger.catalog();
        let door = catalog.requested_door(request.door)?;
        let client = catalog.requested_client(request.client)?;
        let name = catalog.door(door).name.clone();
        let client_name = catalog.client(client).to_owned();
        if !catalog.may_open(&self.config, client, door) {
            return Err(Refusal::Denied(format!(
                "client {client_name:?} may not close door {name:?}"
            )));
        }
        let key = DoorKey {
            door,
            source: request.source,
        };
        if self.ledger.holder(key) != Some(client) {
            info!(
                "client {client_name:?} asks to close door {name:?} to {}, which is not open for it",
                request.source
            );
            return Ok(());
        }
        info!(
            "closing door {name:?} to {} for client {client_name:?}",
            request.source
        );
        self.ledger.revoke(&mut self.datapath, key, How::ByClient);
        Ok(())
    }
}
