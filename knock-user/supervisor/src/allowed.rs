//! Which doors may be open under a configuration.

use std::{collections::HashMap, time::Duration};

use knockd_config::{Config, model::Door};
use knockd_types::names::BY_HAND;

/// The doors that a configuration allows to be open, by the names of client and door.
pub(crate) struct Allowed<'c> {
    /// The places of the clients in the configuration.
    clients: HashMap<&'c str, usize>,
    doors: HashMap<&'c str, &'c Door>,
}

impl<'c> Allowed<'c> {
    /// What `config` allows.
    pub(crate) fn by(config: &'c Config) -> Self {
        let clients = config.clients.iter().enumerate();
        let doors = config.doors.iter();
        Self {
            clients: clients
                .map(|(place, client)| (client.name.as_str(), place))
                .collect(),
            doors: doors.map(|door| (door.name.as_str(), door)).collect(),
        }
    }

    /// What `next` allows of that which was opened under `current`. A client with another secret is
    /// another client: whoever has the old one may keep nothing open.
    pub(crate) fn after(current: &Config, next: &'c Config) -> Self {
        let mut allowed = Self::by(next);
        for client in &current.clients {
            let place = allowed.clients.get(client.name.as_str());
            if place.is_some_and(|place| next.clients[*place].secret != client.secret) {
                allowed.clients.remove(client.name.as_str());
            }
        }
        allowed
    }

    /// The door, and for how long `client` may have it open; `None` if it may not.
    pub(crate) fn door(&self, client: &str, door: &str) -> Option<(&'c Door, Duration)> {
        let door = *self.doors.get(door)?;
        // The administrator's doors have no limit.
        if client == BY_HAND {
            return Some((door, Duration::MAX));
        }
        let place = self.clients.get(client)?;
        let may = door.clients.binary_search(place).is_ok();
        may.then_some((door, door.max_lease))
    }
}
