//! Opens a door, for an accepted knock or for the administrator.

use knockd_ipc::{message::Message, request::OpenDoor};
use knockd_runtime::clock::unix_ms;
use knockd_types::{history::Via, names::BY_HAND_NUMBER};
use tracing::info;

use super::granted::{Wanted, granted};
use crate::{
    doors::{DoorKey, Grant},
    ledger::Knock,
    refusal::Refusal,
    state::Supervisor,
};

impl Supervisor {
    /// Opens a door.
    pub(super) fn open(&mut self, request: OpenDoor) {
        let outcome = if request.client == BY_HAND_NUMBER {
            self.open_manually(&request)
        } else {
            self.admit(&request)
        };
        self.answer(request.query, outcome);
    }

    /// Opens a door for an accepted knock, if the configuration allows it.
    fn admit(&mut self, request: &OpenDoor) -> Result<Vec<String>, Refusal> {
        let (key, grant) = self.granted(&Wanted {
            door: request.door,
            client: request.client,
            source: request.source,
            sender: request.sender,
            lease: request.lease,
        })?;
        let via = match request.is_datagram {
            true => Via::Datagram,
            false => Via::Syn,
        };
        let knock = Knock {
            sender: (request.sender != request.source).then_some(request.sender),
            via: Some(via),
            arrival: self.config.metrics.is_some().then_some(request.at),
        };
        if !self.ledger.open(&mut self.datapath, key, grant, knock) {
            self.refuse_full(request);
        }
        Ok(Vec::new())
    }

    /// What the configuration grants to a knock.
    pub(super) fn granted(&self, wanted: &Wanted) -> Result<(DoorKey, Grant), Refusal> {
        granted(self.ledger.catalog(), &self.config, wanted, unix_ms())
    }

    fn refuse_full(&mut self, request: &OpenDoor) {
        self.counters.refused_doors_full += 1;
        self.listener.send(Message::Full {
            client: request.client,
            source: request.source,
            at: request.at,
        });
    }

    /// Opens a door without a knock.
    fn open_manually(&mut self, request: &OpenDoor) -> Result<Vec<String>, Refusal> {
        let catalog = self.ledger.catalog();
        let door = catalog.requested_door(request.door)?;
        let name = catalog.door(door).name.clone();
        info!("opening door {name:?} to {} manually", request.source);
        let key = DoorKey {
            door,
            source: request.source,
        };
        let grant = Grant {
            client: BY_HAND_NUMBER as usize,
            lease: request.lease,
        };
        let by_hand = Knock::default();
        if !self.ledger.open(&mut self.datapath, key, grant, by_hand) {
            let full = "as many doors are open as `limits.open_doors` allows";
            return Err(Refusal::Denied(full.into()));
        }
        if !self.ledger.has_open(key) {
            let refused = "the gate has no room for a lease: see knockd's log";
            return Err(Refusal::Denied(refused.into()));
        }
        Ok(vec![name])
    }
}
