//! Doors and clients by numbers that stay the same when the configuration is read again.

use knockd_config::model::{Config, Door};
use knockd_types::names::BY_HAND;

/// The doors and clients of the configuration, and those of earlier ones that somebody may
/// still have open.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// Every door that there has been, the later one of a name in the place of the earlier.
    doors: Vec<Door>,
    /// Every client's name that there has been.
    clients: Vec<String>,
    /// The numbers of the configuration's doors, in its order.
    configured_doors: Vec<usize>,
    /// The numbers of the configuration's clients, in its order.
    configured_clients: Vec<usize>,
}

impl Catalog {
    pub(crate) fn new(config: &Config) -> Self {
        let mut catalog = Self {
            doors: Vec::new(),
            // By its number, see `inner::order::BY_HAND`.
            clients: vec![BY_HAND.to_owned()],
            configured_doors: Vec::new(),
            configured_clients: Vec::new(),
        };
        catalog.update(config);
        catalog
    }

    /// Goes over to another configuration.
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
    }

    /// How many doors there have been.
    pub(crate) fn doors(&self) -> usize {
        self.doors.len()
    }

    /// How many clients there have been.
    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Whether `config`, which this is a catalog of, lets the client open the door.
    pub(crate) fn may_open(&self, config: &Config, client: usize, door: usize) -> bool {
        let position = |numbers: &[usize], number| numbers.iter().position(|one| *one == number);
        let door = position(&self.configured_doors, door);
        let client = position(&self.configured_clients, client);
        match (door, client) {
            (Some(door), Some(client)) => config.doors[door].clients.contains(&client),
            _ => false,
        }
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

    /// Whether the client with this number may have a door open: one of the configuration, or
    /// the administrator.
    pub(crate) fn has_client(&self, number: usize) -> bool {
        self.clients[number] == BY_HAND || self.configured_clients.contains(&number)
    }

    /// The number of the client of this name, who need not be one any more.
    pub(crate) fn number_of_client(&mut self, name: &str) -> usize {
        let known = self.clients.iter().position(|other| other == name);
        known.unwrap_or_else(|| {
            self.clients.push(name.to_owned());
            self.clients.len() - 1
        })
    }
}
