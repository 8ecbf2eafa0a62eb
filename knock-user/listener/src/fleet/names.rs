//! The doors and clients of this node by what stands for their names in records.

use std::collections::{HashMap, HashSet};

use knockd_types::policy::Policy;

use super::keys::{Keys, Tag, tag};

#[derive(Debug)]
struct Door {
    number: u32,
    name: String,
    everywhere: bool,
}

#[derive(Debug)]
struct Client {
    number: u32,
    name: String,
    fingerprint: [u8; 16],
}

/// The doors and clients of this node.
#[derive(Debug)]
pub(super) struct Names {
    doors: HashMap<Tag, Door>,
    clients: HashMap<Tag, Client>,
    /// By their numbers in requests.
    door_tags: HashMap<u32, Tag>,
    client_tags: HashMap<u32, Tag>,
}

impl Names {
    pub(super) fn new(keys: &Keys, policy: &Policy) -> Self {
        let doors = policy.doors.iter().map(|door| {
            let entry = Door {
                number: door.number,
                name: door.name.clone(),
                everywhere: door.everywhere,
            };
            (tag(&door.name), entry)
        });
        let clients = policy.clients.iter().map(|client| {
            let entry = Client {
                number: client.number,
                name: client.name.clone(),
                fingerprint: keys.fingerprint(client),
            };
            (tag(&client.name), entry)
        });
        let doors: HashMap<_, _> = doors.collect();
        let clients: HashMap<_, _> = clients.collect();
        Self {
            door_tags: doors
                .iter()
                .map(|(tag, door)| (door.number, *tag))
                .collect(),
            client_tags: clients
                .iter()
                .map(|(tag, client)| (client.number, *tag))
                .collect(),
            doors,
            clients,
        }
    }

    pub(super) fn door(&self, tag: Tag) -> Option<u32> {
        Some(self.doors.get(&tag)?.number)
    }

    pub(super) fn client(&self, tag: Tag) -> Option<u32> {
        Some(self.clients.get(&tag)?.number)
    }

    pub(super) fn door_tag(&self, number: u32) -> Option<Tag> {
        self.door_tags.get(&number).copied()
    }

    pub(super) fn client_tag(&self, number: u32) -> Option<Tag> {
        self.client_tags.get(&number).copied()
    }

    pub(super) fn opens_everywhere(&self, door: u32) -> bool {
        let door = self.door_tag(door).and_then(|tag| self.doors.get(&tag));
        door.is_some_and(|door| door.everywhere)
    }

    pub(super) fn door_name(&self, tag: Tag) -> String {
        let door = self.doors.get(&tag);
        door.map_or_else(|| "a door of other nodes".into(), |door| door.name.clone())
    }

    pub(super) fn client_name(&self, tag: Tag) -> String {
        let client = self.clients.get(&tag);
        client.map_or_else(
            || "a client of other nodes".into(),
            |client| client.name.clone(),
        )
    }

    /// What stands for the key of the client of this name.
    pub(super) fn fingerprint(&self, name: &str) -> Option<[u8; 16]> {
        Some(self.clients.get(&tag(name))?.fingerprint)
    }

    /// What stands for the key of the client with this number.
    pub(super) fn client_fingerprint(&self, number: u32) -> Option<[u8; 16]> {
        Some(self.clients.get(&self.client_tag(number)?)?.fingerprint)
    }

    /// The numbers of the clients whose key is one of `fingerprints`.
    pub(super) fn numbers_with(
        &self,
        fingerprints: &HashSet<[u8; 16]>,
    ) -> impl Iterator<Item = u32> {
        let clients = self.clients.values();
        let with = clients.filter(|client| fingerprints.contains(&client.fingerprint));
        with.map(|client| client.number)
    }

    /// The names of the clients whose key is one of `fingerprints`, sorted.
    pub(super) fn clients_with(&self, fingerprints: &HashSet<[u8; 16]>) -> Vec<String> {
        let clients = self.clients.values();
        let with = clients.filter(|client| fingerprints.contains(&client.fingerprint));
        let mut names: Vec<_> = with.map(|client| client.name.clone()).collect();
        names.sort_unstable();
        names
    }
}
