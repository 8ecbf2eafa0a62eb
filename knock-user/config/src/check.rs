//! Validation across several values of the configuration.

mod gate;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use knock_common::{
    protocol::{
        classic::{ClassicSecret, Sequence},
        door::ShortTag,
        identity::{KeyPair, Owner, PublicKey},
    },
    rate::Rate,
};
use knockd_credentials::{key_file, passphrase::Passphrase};
use knockd_runtime::account;
use knockd_types::{account::Account, interface::Wanted, policy::Secret};
use toml::Spanned;

use crate::{
    file::{self, Protocol},
    keys::peers,
    metrics,
    model::{Client, Config, Door, Limits, NO_CLIENT},
    place::Problem,
    strict, value,
};

/// Turns the parsed file into a [`Config`] and collects all problems.
pub(super) struct Checker<'a> {
    /// The configuration's directory. Paths of secret files are relative to it.
    folder: &'a Path,
    /// The user of the unprivileged processes.
    listener: Option<Account>,
    problems: Vec<Problem>,
}

/// What identifies the clients seen so far. Two clients must not share it.
#[derive(Default)]
struct Known {
    /// The passphrases, each with its client's name.
    passphrases: Vec<(String, Passphrase)>,
    /// The names of the clients with these keys.
    keys: HashMap<PublicKey, String>,
}

/// A client before its key is derived.
struct Candidate {
    name: String,
    credential: Credential,
}

enum Credential {
    Pair(Spanned<PublicKey>),
    Classic(ClassicSecret),
}

impl Credential {
    fn public(&self) -> Option<&Spanned<PublicKey>> {
        match self {
            Self::Pair(key) => Some(key),
            Self::Classic(_) => None,
        }
    }
}

impl<'a> Checker<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            listener: None,
            problems: Vec::new(),
        }
    }

    pub(super) fn check(mut self, file: file::Config) -> Result<Config, Vec<Problem>> {
        let names = self.unique_names("client", file.client.iter().map(|client| &client.name));
        self.unique_names("door", file.door.iter().map(|door| &door.name));
        if file.client.is_empty() {
            self.problem(format!("{NO_CLIENT}: `knockd client add NAME` adds one"));
        }
        if file.door.is_empty() {
            self.problem("there is no [[door]]: a knock could open nothing, so add one".into());
        }
        let protocols: Vec<_> = file.client.iter().map(|client| client.protocol).collect();
        let server = file.server_key_file.as_ref();
        let server = server.and_then(|path| self.server_key(path));
        let has_server = file.server_key_file.is_some();
        let clients = self.clients(file.client, server.as_ref(), has_server);
        if let Some(datagram) = &file.datagram
            && !has_server
        {
            let message =
                "datagram knocks need a top-level `server_key_file`: `knockd init` makes one";
            self.problem_at(&datagram.port, message.into());
        }
        let window = file.window.base.into();
        let gate = self.gate(
            file.gate,
            &file.door,
            window,
            file.limits.leases.clone().into(),
        );
        let user = file.user.as_ref().and_then(|user| self.user(user));
        self.listener = user
            .clone()
            .or_else(|| account::find(account::DEFAULT_USER).ok().flatten());
        let doors = self.doors(file.door, &names, &protocols);
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let limits = file.limits;
        Ok(Config {
            interfaces: Wanted::new(file.interfaces.into_iter().map(Into::into).collect()),
            state_dir: file.state_dir,
            user,
            server,
            max_skew: file.max_skew.into(),
            window,
            verdict: file.window.verdict.into(),
            sequence_timeout: file.sequence_timeout.into(),
            control_socket: file.control_socket.into(),
            limits: Limits {
                events: Rate::new(limits.events_per_second, limits.event_burst),
                sources: limits.sources,
                open_doors: limits.open_doors,
                commands: limits.commands,
                command_timeout: limits.command_timeout.into(),
                history: limits.history.into(),
            },
            clients,
            doors,
            datagram_port: file.datagram.map(|datagram| datagram.port.into_inner()),
            gate,
            metrics: file.metrics.map(|metrics| metrics::Settings {
                listen: metrics.listen.into(),
            }),
        })
    }

    fn problem(&mut self, message: String) {
        self.problems.push(Problem::anywhere(message));
    }

    fn problem_at<T>(&mut self, value: &Spanned<T>, message: String) {
        self.problems.push(Problem::at(value.span(), message));
    }

    /// The index of every name. A duplicate name is a problem.
    fn unique_names<'n>(
        &mut self,
        kind: &str,
        names: impl Iterator<Item = &'n Spanned<value::Name>>,
    ) -> HashMap<String, usize> {
        let mut indices = HashMap::new();
        for (index, name) in names.enumerate() {
            let text = name.get_ref().as_str();
            if indices.insert(text.to_owned(), index).is_some() {
                self.problem_at(name, format!("there are two {kind}s named `{text}`"));
            }
        }
        indices
    }

    fn server_key(&mut self, path: &Spanned<PathBuf>) -> Option<KeyPair> {
        let read = key_file::read(Owner::Server, &self.folder.join(path.get_ref()));
        self.secret(path, read).map(KeyPair::from)
    }

    /// The clients. `has_server` is whether there is a server key, readable or not.
    fn clients(
        &mut self,
        entries: Vec<file::Client>,
        server: Option<&KeyPair>,
        has_server: bool,
    ) -> Vec<Client> {
        let mut known = Known::default();
        if let Some(server) = server {
            known.keys.insert(server.public(), "the server".into());
        }
        let candidates: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| self.client(entry, &mut known))
            .collect();
        let keys: Vec<_> = candidates
            .iter()
            .filter_map(|one| one.credential.public())
            .collect();
        if let Some(key) = keys.first()
            && !has_server
        {
            let message = "a client with a key pair needs a top-level `server_key_file`: `knockd init` makes one";
            self.problem_at(key, message.into());
        }
        let keys: Vec<_> = keys.into_iter().map(|key| *key.get_ref()).collect();
        let peers = server.map_or_else(Vec::new, |server| peers(server, &keys));
        let mut peers = peers.into_iter();
        let mut clients = Vec::new();
        for Candidate { name, credential } in candidates {
            let secret = match credential {
                Credential::Classic(secret) => Secret::Classic(secret),
                Credential::Pair(key) => match peers.next() {
                    Some(Ok(peer)) => Secret::Pair(peer),
                    Some(Err(error)) => {
                        self.problem_at(&key, error.to_string());
                        continue;
                    }
                    // There is no server key, which is a problem already.
                    None => continue,
                },
            };
            clients.push(Client { name, secret });
        }
        clients
    }

    /// The client of `entry`, or `None` if it has a problem.
    fn client(&mut self, entry: file::Client, known: &mut Known) -> Option<Candidate> {
        let name = entry.name.get_ref().as_str();
        let credential = match (entry.protocol, entry.public_key, &entry.passphrase_file) {
            (Protocol::Knock2, Some(key), None) => {
                Credential::Pair(self.public_key(name, &key, known)?)
            }
            (Protocol::Classic, None, Some(path)) => {
                let passphrase = self.passphrase(name, path, known)?;
                let secret = ClassicSecret::from_passphrase(passphrase.as_bytes());
                known.passphrases.push((name.into(), passphrase));
                Credential::Classic(secret)
            }
            (Protocol::Knock2, _, Some(path)) => {
                let message = "only a classic client has a `passphrase_file`: any other passphrase stays with the client, where `knock pubkey` prints the `public_key` of it";
                self.problem_at(path, message.into());
                return None;
            }
            (Protocol::Classic, Some(key), _) => {
                let message = "a classic client has a `passphrase_file`, not a key";
                self.problem_at(&key, message.into());
                return None;
            }
            (protocol, None, None) => {
                let needed = match protocol {
                    Protocol::Knock2 => "a `public_key`, which `knock keygen` makes",
                    Protocol::Classic => "a `passphrase_file`",
                };
                self.problem_at(&entry.name, format!("client `{name}` needs {needed}"));
                return None;
            }
        };
        Some(Candidate {
            name: name.to_owned(),
            credential,
        })
    }

    fn public_key(
        &mut self,
        name: &str,
        key: &Spanned<value::PublicKey>,
        known: &mut Known,
    ) -> Option<Spanned<PublicKey>> {
        let public: PublicKey = key.get_ref().clone().into();
        if let Some(other) = known.keys.insert(public, format!("client `{name}`")) {
            let message = format!(
                "client `{name}` has the same key as {other}: their knocks cannot be told apart"
            );
            self.problem_at(key, message);
            return None;
        }
        Some(Spanned::new(key.span(), public))
    }

    /// The secret that was read from the file at `path`, or `None` after a problem.
    fn secret<T, E: std::fmt::Display>(
        &mut self,
        path: &Spanned<PathBuf>,
        read: Result<T, E>,
    ) -> Option<T> {
        let place = self.folder.join(path.get_ref());
        let problem = match read {
            Ok(secret) => match strict::check(&place) {
                Ok(()) => return Some(secret),
                Err(untrusted) => untrusted.to_string(),
            },
            Err(error) => error.to_string(),
        };
        self.problem_at(path, format!("{}: {problem}", place.display()));
        None
    }

    fn passphrase(
        &mut self,
        name: &str,
        path: &Spanned<PathBuf>,
        known: &Known,
    ) -> Option<Passphrase> {
        let read = Passphrase::from_file(&self.folder.join(path.get_ref()));
        let passphrase = self.secret(path, read)?;
        let taken = known
            .passphrases
            .iter()
            .find(|(_, other)| other.as_bytes() == passphrase.as_bytes());
        if let Some((other, _)) = taken {
            let message = format!(
                "client `{name}` has the same passphrase as client `{other}`: their knocks cannot be told apart"
            );
            self.problem_at(path, message);
            return None;
        }
        Some(passphrase)
    }

    fn doors(
        &mut self,
        entries: Vec<file::Door>,
        clients: &HashMap<String, usize>,
        protocols: &[Protocol],
    ) -> Vec<Door> {
        let mut doors: Vec<Door> = Vec::new();
        for entry in entries {
            self.distinguishable(&entry, &doors);
            let allowed = match &entry.clients {
                None => (0..protocols.len()).collect(),
                Some(names) => self.door_clients(names, clients),
            };
            self.openable(&entry, &allowed, protocols);
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
            doors.push(Door {
                name: entry.name.into_inner().into(),
                clients: allowed,
                sequence: entry.sequence.map(|sequence| sequence.into_inner().into()),
                opening,
                run: entry.run,
                close: entry.close,
                lease,
                max_lease,
                require_binding: entry.require_binding,
                allow_other: entry.allow_other,
                account,
            });
        }
        doors
    }

    /// The user that the listener runs as.
    fn user(&mut self, user: &Spanned<String>) -> Option<Account> {
        let account = self.account(user, None)?;
        if account.uid == 0 {
            let message =
                "the listener must not run as root: name another user, or leave `user` out";
            self.problem_at(user, message.into());
        }
        Some(account)
    }

    /// The user and group that the commands of `entry` run as, if configured.
    fn door_account(&mut self, entry: &file::Door) -> Option<Account> {
        match (&entry.user, &entry.group) {
            (Some(user), group) => {
                let account = self.account(user, group.as_ref())?;
                let is_listener = |listener: &Account| listener.uid == account.uid;
                if self.listener.as_ref().is_some_and(is_listener) {
                    let message = "the processes that read network input run as this user, and its commands could end them: name another user";
                    self.problem_at(user, message.into());
                }
                Some(account)
            }
            (None, Some(group)) => {
                let message = "a `group` needs a `user`: root in another group is still root";
                self.problem_at(group, message.into());
                None
            }
            (None, None) => None,
        }
    }

    /// The account with these names.
    fn account(
        &mut self,
        user: &Spanned<String>,
        group: Option<&Spanned<String>>,
    ) -> Option<Account> {
        let account = match account::find(user.get_ref()) {
            Ok(Some(account)) => account,
            Ok(None) => {
                let message = format!(
                    "this host has no user `{}`: `getent passwd` lists its users",
                    user.get_ref()
                );
                self.problem_at(user, message);
                return None;
            }
            Err(error) => {
                self.problem_at(user, format!("the user cannot be looked up: {error}"));
                return None;
            }
        };
        let Some(group) = group else {
            return Some(account);
        };
        match account::in_group(account, group.get_ref()) {
            Ok(Some(account)) => Some(account),
            Ok(None) => {
                let message = format!(
                    "this host has no group `{}`: `getent group` lists its groups",
                    group.get_ref()
                );
                self.problem_at(group, message);
                None
            }
            Err(error) => {
                self.problem_at(group, format!("the group cannot be looked up: {error}"));
                None
            }
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
    fn openable(&mut self, entry: &file::Door, allowed: &[usize], protocols: &[Protocol]) {
        if entry.sequence.is_some() {
            return;
        }
        let classic = |index: &usize| protocols.get(*index) == Some(&Protocol::Classic);
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
