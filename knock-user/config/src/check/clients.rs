//! Validation of the clients.

use std::{collections::HashMap, path::PathBuf};

use ipnet::IpNet;
use knock_common::protocol::{
    classic::ClassicSecret,
    identity::{KeyPair, LowOrder, PublicKey},
};
use knockd_credentials::passphrase::Passphrase;
use knockd_types::{
    conditions::Conditions,
    policy::{Peer, PreviousKey, Secret},
};
use toml::Spanned;

use super::Checker;
use crate::{
    file::{self, Protocol},
    keys::peers,
    model::Client,
    value,
};

/// The most networks that a client may knock from: each knock is compared with all of them.
const MAX_NETWORKS: usize = 64;

/// What identifies the clients seen so far. Two clients must not share it.
#[derive(Default)]
struct Known {
    /// The passphrases, each with its client's name.
    passphrases: Vec<(String, Passphrase)>,
    /// The names of the clients with these keys.
    keys: HashMap<PublicKey, String>,
}

/// A client before its keys are derived.
struct Candidate {
    file: usize,
    name: String,
    credential: Credential,
    /// The key that it had before, and until when that is accepted.
    previous: Option<(Spanned<PublicKey>, u64)>,
    conditions: Conditions,
}

enum Credential {
    Pair(Spanned<PublicKey>),
    Classic(ClassicSecret),
}

impl Candidate {
    /// Its public keys: the current one, then the one before. Each with the index of its file.
    fn keys(&self) -> impl Iterator<Item = (usize, &Spanned<PublicKey>)> {
        let current = match &self.credential {
            Credential::Pair(key) => Some(key),
            Credential::Classic(_) => None,
        };
        let previous = self.previous.as_ref().map(|(key, _)| key);
        let keys = current.into_iter().chain(previous);
        keys.map(|key| (self.file, key))
    }
}

impl Checker<'_> {
    /// The clients. `has_server` is whether there is a server key, readable or not.
    pub(super) fn clients(
        &mut self,
        entries: &[file::Client],
        server: Option<&KeyPair>,
        has_server: bool,
    ) -> Vec<Client> {
        let mut known = Known::default();
        if let Some(server) = server {
            known.keys.insert(server.public(), "the server".into());
        }
        let mut candidates = Vec::new();
        for entry in entries {
            let candidate = self.within(entry.file, |checker| checker.candidate(entry, &mut known));
            candidates.extend(candidate);
        }
        let keys: Vec<_> = candidates.iter().flat_map(Candidate::keys).collect();
        if let Some((file, key)) = keys.first()
            && !has_server
        {
            let message = "a client with a key pair needs a top-level `server_key_file`: `knockd init` makes one";
            self.problem_in(*file, key, message.into());
        }
        let keys: Vec<_> = keys.into_iter().map(|(_, key)| *key.get_ref()).collect();
        let peers = server.map_or_else(Vec::new, |server| peers(server, &keys));
        let mut peers = peers.into_iter();
        let mut clients = Vec::new();
        for candidate in candidates {
            let client = self.within(candidate.file, |checker| {
                checker.client(candidate, &mut peers)
            });
            clients.extend(client);
        }
        clients
    }

    /// The client of `candidate`, whose keys come next in `peers`; `None` if it has a problem.
    fn client(
        &mut self,
        candidate: Candidate,
        peers: &mut impl Iterator<Item = Result<Peer, LowOrder>>,
    ) -> Option<Client> {
        let secret = match candidate.credential {
            Credential::Pair(key) => self.pair(&key, peers.next()),
            Credential::Classic(secret) => Some(Secret::Classic(secret)),
        };
        // Taken from `peers` also after a problem, so that the next client gets its own keys.
        let previous = match candidate.previous {
            Some((key, until)) => Some((self.pair(&key, peers.next())?, until)),
            None => None,
        };
        Some(Client {
            name: candidate.name,
            secret: secret?,
            previous: previous.map(|(secret, until)| PreviousKey { secret, until }),
            conditions: candidate.conditions,
            file: candidate.file,
        })
    }

    /// What is shared with the client that has this key. Without a server key, which is a problem
    /// already, there is no `peer`.
    fn pair(
        &mut self,
        key: &Spanned<PublicKey>,
        peer: Option<Result<Peer, LowOrder>>,
    ) -> Option<Secret> {
        match peer? {
            Ok(peer) => Some(Secret::Pair(peer)),
            Err(error) => {
                self.problem_at(key, error.to_string());
                None
            }
        }
    }

    /// The client of `entry`, or `None` if it has a problem.
    fn candidate(&mut self, entry: &file::Client, known: &mut Known) -> Option<Candidate> {
        let conditions = self.conditions(entry);
        let credential = self.credential(entry, known);
        let previous = self.previous_key(entry, known);
        Some(Candidate {
            file: entry.file,
            name: entry.name.get_ref().as_str().to_owned(),
            credential: credential?,
            previous,
            conditions,
        })
    }

    fn credential(&mut self, entry: &file::Client, known: &mut Known) -> Option<Credential> {
        let name = entry.name.get_ref().as_str();
        match (entry.protocol, &entry.public_key, &entry.passphrase_file) {
            (Protocol::Knock2, Some(key), None) => {
                Some(Credential::Pair(self.public_key(name, key, known)?))
            }
            (Protocol::Classic, None, Some(path)) => {
                let passphrase = self.passphrase(name, path, known)?;
                let secret = ClassicSecret::from_passphrase(passphrase.as_bytes());
                known.passphrases.push((name.into(), passphrase));
                Some(Credential::Classic(secret))
            }
            (Protocol::Knock2, _, Some(path)) => {
                let message = "only a classic client has a `passphrase_file`: any other passphrase stays with the client, where `knock pubkey` prints the `public_key` of it";
                self.problem_at(path, message.into());
                None
            }
            (Protocol::Classic, Some(key), _) => {
                let message = "a classic client has a `passphrase_file`, not a key";
                self.problem_at(key, message.into());
                None
            }
            (protocol, None, None) => {
                let needed = match protocol {
                    Protocol::Knock2 => "a `public_key`, which `knock keygen` makes",
                    Protocol::Classic => "a `passphrase_file`",
                };
                self.problem_at(&entry.name, format!("client `{name}` needs {needed}"));
                None
            }
        }
    }

    /// The key that the client of `entry` had before, and until when it is accepted.
    fn previous_key(
        &mut self,
        entry: &file::Client,
        known: &mut Known,
    ) -> Option<(Spanned<PublicKey>, u64)> {
        let (key, until) = match (&entry.previous_key, &entry.previous_until) {
            (Some(key), Some(until)) => (key, until),
            (Some(key), None) => {
                let message = "a `previous_key` needs a `previous_until`: the time until which it is accepted, such as 2027-01-01T00:00:00Z";
                self.problem_at(key, message.into());
                return None;
            }
            (None, Some(until)) => {
                let message = "this needs a `previous_key`: the key that the client had before";
                self.problem_at(until, message.into());
                return None;
            }
            (None, None) => return None,
        };
        if entry.protocol == Protocol::Classic {
            let message = "a classic client has a `passphrase_file`, not a key";
            self.problem_at(key, message.into());
            return None;
        }
        let public = |key: &Spanned<value::PublicKey>| PublicKey::from(key.get_ref().clone());
        if entry.public_key.as_ref().map(public) == Some(public(key)) {
            let message = "this is the client's `public_key`: write the key that it had before";
            self.problem_at(key, message.into());
            return None;
        }
        let key = self.public_key(entry.name.get_ref().as_str(), key, known)?;
        Some((key, until.get_ref().clone().into()))
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

    fn passphrase(
        &mut self,
        name: &str,
        path: &Spanned<PathBuf>,
        known: &Known,
    ) -> Option<Passphrase> {
        let read = Passphrase::from_file(&self.folder().join(path.get_ref()));
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

    /// When and from where the client of `entry` may knock.
    fn conditions(&mut self, entry: &file::Client) -> Conditions {
        let mut from = Vec::new();
        if let Some(networks) = &entry.from {
            if networks.get_ref().is_empty() {
                let message = "this client may knock from nowhere: name a network, or leave `from` out to allow all";
                self.problem_at(networks, message.into());
            }
            if let Some(network) = networks.get_ref().get(MAX_NETWORKS) {
                let message = format!("at most {MAX_NETWORKS} networks can be listed: merge some");
                self.problem_at(network, message);
            }
            let networks = networks.get_ref().iter().map(Spanned::get_ref);
            from.extend(networks.cloned().map(IpNet::from));
        }
        Conditions {
            expires: entry.expires.clone().map(Into::into),
            from,
        }
    }
}
