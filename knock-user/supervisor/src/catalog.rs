//! The doors and clients by number. Numbers are stable across reloads.

use std::collections::HashMap;

use knockd_config::model::{Config, Door};
use knockd_types::{conditions::Conditions, names::BY_HAND};

use crate::refusal::Refusal;

/// The doors and clients of the configuration and of earlier ones, whose doors may still be open.
///
/// A name keeps its number for the life of the daemon. A number that was assigned stays valid.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// Every door by number. A door of a later configuration replaces the one of the same name.
    doors: Vec<Door>,
    /// Every client's name by number.
    clients: Vec<String>,
    /// Every client's number by name.
    client_numbers: HashMap<String, usize>,
    /// The numbers of the configuration's doors, in its order.
    configured_doors: Vec<usize>,
    /// The numbers of the configuration's clients, in its order.
    configured_clients: Vec<usize>,
    /// The places of the configuration's clients in it, by number.
    client_places: HashMap<usize, usize>,
}

impl Catalog {
    /// The doors and clients of `config`.
    pub(crate) fn new(config: &Config) -> Self {
        let mut catalog = Self {
            doors: Vec::new(),
            clients: Vec::new(),
            client_numbers: HashMap::new(),
            configured_doors: Vec::new(),
            configured_clients: Vec::new(),
            client_places: HashMap::new(),
        };
        // The first one: its number is `BY_HAND_NUMBER`.
        catalog.number_of_client(BY_HAND);
        catalog.update(config);
        catalog
    }

    /// Adopts the doors and clients of another configuration.
    pub(crate) fn update(&mut self, config: &Config) {
        self.configured_doors = config
            .doors
            .iter()
            .map(|door| {
                let known = self.doors.iter().position(|other| other.name == door.name);
                match known {
                    Some(number) => {
                        self.doors[number] = door.clone();
                        number
                    }
                    None => {
                        self.doors.push(door.clone());
                        self.doors.len() - 1
                    }
                }
            })
            .collect();
        let names = config.clients.iter().map(|client| client.name.as_str());
        self.configured_clients = names.map(|name| self.number_of_client(name)).collect();
        let places = self.configured_clients.iter().enumerate();
        self.client_places = places.map(|(place, number)| (*number, place)).collect();
    }

    /// The configuration's door with the number that the listener requested.
    ///
    /// # Errors
    ///
    /// Returns an error if there was never such a door, or if a reload has removed it.
    pub(crate) fn requested_door(&self, number: u32) -> Result<usize, Refusal> {
        let number = number as usize;
        let Some(door) = self.doors.get(number) else {
            return Err(Refusal::Invalid("it requested an unknown door"));
        };
        if !self.has_door(number) {
            let removed = format!("door {:?} is not configured", door.name);
            return Err(Refusal::Denied(removed));
        }
        Ok(number)
    }

    /// The configuration's client with the number that the listener requested.
    ///
    /// # Errors
    ///
    /// Returns an error if there was never such a client, or if a reload has removed it.
    pub(crate) fn requested_client(&self, number: u32) -> Result<usize, Refusal> {
        let number = number as usize;
        let Some(name) = self.clients.get(number) else {
            return Err(Refusal::Invalid("it requested an unknown client"));
        };
        if !self.has_client(number) {
            let removed = format!("client {name:?} is not configured");
            return Err(Refusal::Denied(removed));
        }
        Ok(number)
    }

    /// Whether `config`, the last adopted configuration, allows the client to open the door.
    pub(crate) fn may_open(&self, config: &Config, client: usize, door: usize) -> bool {
        let door = self.configured_doors.iter().position(|one| *one == door);
        let client = self.client_places.get(&client);
        match (door, client) {
            (Some(door), Some(client)) => config.doors[door].clients.binary_search(client).is_ok(),
            _ => false,
        }
    }

    /// When and from where `config`, the last adopted configuration, allows the client to knock.
    /// `None` if it has no such client.
    pub(crate) fn conditions<'c>(
        &self,
        config: &'c Config,
        client: usize,
    ) -> Option<&'c Conditions> {
        let place = self.client_places.get(&client)?;
        Some(&config.clients[*place].conditions)
    }

    /// The door with this number.
    pub(crate) fn door(&self, number: usize) -> &Door {
        &self.doors[number]
    }

    /// The number of the configuration's door at `index`.
    pub(crate) fn configured_door(&self, index: usize) -> usize {
        self.configured_doors[index]
    }

    /// The number of the configuration's client at `index`.
    pub(crate) fn configured_client(&self, index: usize) -> usize {
        self.configured_clients[index]
    }

    /// The number of the configuration's door of this name.
    pub(crate) fn door_named(&self, name: &str) -> Option<usize> {
        let mut configured = self.configured_doors.iter().copied();
        configured.find(|number| self.doors[*number].name == name)
    }

    /// Whether the configuration has the door with this number.
    pub(crate) fn has_door(&self, number: usize) -> bool {
        self.configured_doors.contains(&number)
    }

    /// The name of the client with this number.
    pub(crate) fn client(&self, number: usize) -> &str {
        &self.clients[number]
    }

    /// Whether a door may be open for the client with this number: a client of the configuration,
    /// or the administrator.
    pub(crate) fn has_client(&self, number: usize) -> bool {
        self.clients[number] == BY_HAND || self.client_places.contains_key(&number)
    }

    /// The number of the client of this name. The configuration need not have it.
    pub(crate) fn number_of_client(&mut self, name: &str) -> usize {
        if let Some(number) = self.client_numbers.get(name) {
            return *number;
        }
        let number = self.clients.len();
        self.clients.push(name.to_owned());
        self.client_numbers.insert(name.to_owned(), number);
        number
    }
}

#[cfg(test)]
mod tests;
