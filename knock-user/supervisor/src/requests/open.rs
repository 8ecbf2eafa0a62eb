//! Opens a door, for an accepted knock or for the administrator.

use std::{net::IpAddr, time::Duration};

use knockd_ipc::{message::Message, request::OpenDoor};
use knockd_runtime::clock::unix_ms;
use knockd_types::{history::Via, names::BY_HAND_NUMBER};
use tracing::info;

use crate::{
    doors::{DoorKey, Grant},
    ledger::Knock,
    refusal::Refusal,
    state::Supervisor,
};

/// What a knock asks for, by the numbers of the catalog.
pub(super) struct Wanted {
    pub(super) door: u32,
    pub(super) client: u32,
    /// The address that the door is opened for.
    pub(super) source: IpAddr,
    /// The address that the knock came from.
    pub(super) sender: IpAddr,
    pub(super) lease: Duration,
}

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

    /// What the configuration grants to a knock. The listener has checked all of it, but it must not
    /// be trusted with that.
    pub(super) fn granted(&self, wanted: &Wanted) -> Result<(DoorKey, Grant), Refusal> {
        let catalog = self.ledger.catalog();
        let door = catalog.requested_door(wanted.door)?;
        let client = catalog.requested_client(wanted.client)?;
        if !catalog.may_open(&self.config, client, door) {
            return Err(Refusal::Denied(format!(
                "client {:?} may not open door {:?}",
                catalog.client(client),
                catalog.door(door).name
            )));
        }
        // The listener vouches for the sender only where it may differ from the address that is opened for.
        let sender = match catalog.door(door).allow_other {
            true => wanted.sender,
            false => wanted.source,
        };
        let left = self.time_left(client, sender)?;
        let key = DoorKey {
            door,
            source: wanted.source,
        };
        let grant = Grant {
            client,
            // A reload may have lowered the limit since the knock was verified.
            lease: wanted.lease.min(catalog.door(door).max_lease).min(left),
        };
        Ok((key, grant))
    }

    /// The time until the client expires, in whole seconds as every lease.
    fn time_left(&self, client: usize, sender: IpAddr) -> Result<Duration, Refusal> {
        let catalog = self.ledger.catalog();
        let conditions = catalog.conditions(&self.config, client);
        let name = catalog.client(client);
        let now = unix_ms();
        let left = conditions.map_or(0, |conditions| conditions.time_left(now).as_secs());
        if left == 0 {
            return Err(Refusal::Denied(format!("client {name:?} has expired")));
        }
        if !conditions.is_some_and(|conditions| conditions.is_from(sender)) {
            return Err(Refusal::Denied(format!(
                "client {name:?} may not knock from {sender}"
            )));
        }
        Ok(Duration::from_secs(left))
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
