//! Validation of the doors.

use std::collections::{HashMap, HashSet};

use knock_common::protocol::{classic::Sequence, door::ShortTag};
use toml::Spanned;

use super::Checker;
use crate::{
    file::{self, Protocol},
    model::Door,
    value,
};

/// Which doors a client may open.
pub(super) struct Reach {
    protocol: Protocol,
    /// The indices of the doors. `None`: every door that admits it.
    doors: Option<HashSet<usize>>,
}

impl Reach {
    /// Whether the client says nothing against the door with this index.
    fn includes(&self, door: usize) -> bool {
        self.doors
            .as_ref()
            .is_none_or(|doors| doors.contains(&door))
    }
}

/// The doors that clients name.
struct ReachableDoors<'d> {
    /// Their indices.
    names: &'d HashMap<String, usize>,
    entries: &'d [file::Door],
    /// The names of the clients that each admits. `None`: all.
    admitted: Vec<Option<HashSet<&'d str>>>,
}

impl Checker<'_> {
    /// Which doors each client may open, as far as it says so.
    pub(super) fn reaches(
        &mut self,
        clients: &[file::Client],
        doors: &[file::Door],
        names: &HashMap<String, usize>,
    ) -> Vec<Reach> {
        let admitted = doors.iter().map(|door| {
            let clients = door.clients.as_ref()?.get_ref().iter();
            Some(clients.map(|name| name.get_ref().as_str()).collect())
        });
        let doors = ReachableDoors {
            names,
            entries: doors,
            admitted: admitted.collect(),
        };
        let mut reaches = Vec::with_capacity(clients.len());
        for client in clients {
            let list = client.doors.as_ref();
            reaches.push(Reach {
                protocol: client.protocol,
                doors: list.map(|list| {
                    self.within(client.file, |checker| {
                        checker.client_doors(client, list, &doors)
                    })
                }),
            });
        }
        reaches
    }

    /// The indices of the doors in `list`, the `doors` of `client`.
    fn client_doors(
        &mut self,
        client: &file::Client,
        list: &Spanned<Vec<Spanned<value::Name>>>,
        doors: &ReachableDoors<'_>,
    ) -> HashSet<usize> {
        if list.get_ref().is_empty() {
            let message =
                "this client may open no door: name one, or leave `doors` out to allow all";
            self.problem_at(list, message.into());
        }
        let client_name = client.name.get_ref().as_str();
        let mut indices = HashSet::new();
        for name in list.get_ref() {
            let text = name.get_ref().as_str();
            let Some(&index) = doors.names.get(text) else {
                self.problem_at(name, format!("there is no [[door]] named `{text}`"));
                continue;
            };
            if let Some(clients) = &doors.admitted[index]
                && !clients.contains(client_name)
            {
                let message = format!(
                    "the `clients` of door `{text}` do not include `{client_name}`: add it there, or remove the door here"
                );
                self.problem_at(name, message);
            } else if client.protocol == Protocol::Classic
                && doors.entries[index].sequence.is_none()
            {
                let message = format!(
                    "door `{text}` has no `sequence`, which a classic client needs: add one"
                );
                self.problem_at(name, message);
            }
            indices.insert(index);
        }
        indices
    }

    pub(super) fn doors(
        &mut self,
        entries: Vec<file::Door>,
        clients: &HashMap<String, usize>,
        reaches: &[Reach],
    ) -> Vec<Door> {
        let mut doors: Vec<Door> = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let door = self.within(entry.file, |checker| {
                checker.distinguishable(&entry, &doors);
                let mut allowed = match &entry.clients {
                    None => (0..reaches.len()).collect(),
                    Some(names) => checker.door_clients(names, clients),
                };
                allowed.retain(|client: &usize| reaches[*client].includes(index));
                checker.openable(&entry, &allowed, reaches);
                checker.door(entry, allowed)
            });
            doors.push(door);
        }
        doors
    }

    /// The door of `entry`, which the clients with the indices `clients` may open.
    fn door(&mut self, entry: file::Door, clients: Vec<usize>) -> Door {
        let opening = self.opening(&entry);
        let account = self.door_account(&entry);
        let lease = entry.lease.into();
        let max_lease = entry
            .max_for
            .as_ref()
            .map_or(lease, |max| max.get_ref().clone().into());
        if let Some(max) = &entry.max_for
            && max_lease < lease
        {
            self.problem_at(max, "this is less than the door's `for`".into());
        }
        Door {
            name: entry.name.into_inner().into(),
            clients,
            sequence: entry.sequence.map(|sequence| sequence.into_inner().into()),
            opening,
            run: entry.run,
            close: entry.close,
            lease,
            max_lease,
            require_binding: entry.require_binding,
            allow_other: entry.allow_other,
            everywhere: entry.place == file::Place::Everywhere,
            account,
        }
    }

    /// Checks that a knock for `entry` is distinct from a knock for each earlier door.
    fn distinguishable(&mut self, entry: &file::Door, doors: &[Door]) {
        let name = entry.name.get_ref().as_str();
        let sequence = entry.sequence.as_ref();
        if let Some(sequence) = sequence {
            let ours: Sequence = sequence.get_ref().clone().into();
            if let Some(other) = doors
                .iter()
                .find(|other| other.sequence.as_ref() == Some(&ours))
            {
                let message = format!(
                    "door `{name}` has the same sequence as door `{}` (trailing zeros make no difference)",
                    other.name
                );
                self.problem_at(sequence, message);
            }
        }
        let tag = ShortTag::of(name);
        if let Some(other) = doors
            .iter()
            .find(|other| other.name != name && ShortTag::of(&other.name) == tag)
        {
            let message = format!(
                "door `{name}` has the same tag as door `{}` (the first two bytes of the name's SHA-256): choose another name",
                other.name
            );
            self.problem_at(&entry.name, message);
        }
    }

    /// Checks that every client that `entry` names, and at least one client, can open it.
    fn openable(&mut self, entry: &file::Door, allowed: &[usize], reaches: &[Reach]) {
        if entry.sequence.is_some() {
            return;
        }
        let classic = |index: &usize| reaches[*index].protocol == Protocol::Classic;
        let name = entry.name.get_ref().as_str();
        let nobody = !allowed.is_empty() && allowed.iter().all(classic);
        let named = entry.clients.is_some() && allowed.iter().any(classic);
        if nobody || named {
            let message =
                format!("door `{name}` has no `sequence`, which its classic clients need: add one");
            self.problem_at(&entry.name, message);
        }
    }

    fn door_clients(
        &mut self,
        names: &Spanned<Vec<Spanned<value::Name>>>,
        clients: &HashMap<String, usize>,
    ) -> Vec<usize> {
        if names.get_ref().is_empty() {
            let message =
                "no client may open this door: name one, or leave `clients` out to allow all";
            self.problem_at(names, message.into());
        }
        let mut indices = Vec::new();
        for name in names.get_ref() {
            let text = name.get_ref().as_str();
            match clients.get(text) {
                Some(index) => indices.push(*index),
                None => self.problem_at(name, format!("there is no [[client]] named `{text}`")),
            }
        }
        indices.sort_unstable();
        indices
    }
}
