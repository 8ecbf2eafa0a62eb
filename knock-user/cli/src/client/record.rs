//! What the configuration says about a client.

use std::{collections::HashMap, net::IpAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use knock_common::protocol::identity::{Fingerprint, PublicKey};
use knockd_config::{Client, Config};
use knockd_runtime::{history, log::legible};
use knockd_types::{
    history::{Knock, Moment, last_of_each},
    policy::{PreviousKey, Secret},
    utc,
};
use serde::Serialize;
use tracing::warn;

/// A client, as `list` and `show` print it.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    pub(super) name: String,
    /// `key pair` or `classic`.
    pub(super) kind: &'static str,
    /// None for a classic client.
    pub(super) public_key: Option<String>,
    /// That of the public key.
    pub(super) fingerprint: Option<String>,
    /// The doors that it may open.
    pub(super) doors: Vec<String>,
    /// The networks that it may knock from. None: from everywhere.
    pub(super) from: Vec<String>,
    /// From when on it is locked out, in RFC 3339.
    pub(super) expires: Option<String>,
    /// Whether that time has come.
    pub(super) has_expired: bool,
    /// The key that it had before, while that is valid.
    pub(super) previous_key: Option<Previous>,
    /// The last knock of it in the history.
    pub(super) last_accepted: Option<LastAccepted>,
    /// The file that it is configured in.
    pub(super) file: String,
}

/// An accepted knock.
#[derive(Debug, Serialize)]
pub(super) struct LastAccepted {
    pub(super) time: Moment,
    /// The address that it came from.
    pub(super) source: IpAddr,
    pub(super) door: String,
}

/// A key that was replaced and is valid for a time.
#[derive(Debug, Serialize)]
pub(super) struct Previous {
    pub(super) public_key: String,
    pub(super) fingerprint: String,
    /// From when on it is not valid, in RFC 3339.
    pub(super) until: String,
}

impl Record {
    /// The clients of `config`, in its order.
    pub(super) fn all(config: &Config) -> Vec<Self> {
        let now = utc::now();
        let mut last = last_knocks(&config.state_dir);
        let clients = config.clients.iter().enumerate();
        clients
            .map(|(index, client)| {
                let last = last.remove(&client.name);
                Self::new(config, index, client, last.map(Into::into), now)
            })
            .collect()
    }

    /// The client called `name` in the configuration `config` at `path`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none.
    pub(super) fn of(config: &Config, path: &Path, name: &str) -> Result<Self> {
        let mut all = Self::all(config).into_iter();
        let client = all.find(|client| client.name == name);
        client.with_context(|| missing(path, name))
    }

    fn new(
        config: &Config,
        index: usize,
        client: &Client,
        last_accepted: Option<LastAccepted>,
        now: Duration,
    ) -> Self {
        let doors = config.doors.iter();
        let doors = doors.filter(|door| door.clients.binary_search(&index).is_ok());
        let key = public_key(client);
        let expires = client.conditions.expires.map(Duration::from_millis);
        let previous = client.previous.as_ref();
        let previous = previous.filter(|previous| Duration::from_millis(previous.until) > now);
        Self {
            name: client.name.clone(),
            kind: match client.secret {
                Secret::Pair(_) => "key pair",
                Secret::Classic(_) => "classic",
            },
            public_key: key.map(|key| key.to_string()),
            fingerprint: key.map(|key| Fingerprint::of(&key).to_string()),
            doors: doors.map(|door| door.name.clone()).collect(),
            from: client
                .conditions
                .from
                .iter()
                .map(ToString::to_string)
                .collect(),
            expires: expires.map(utc::seconds),
            has_expired: expires.is_some_and(|expires| expires <= now),
            previous_key: previous.and_then(Previous::new),
            last_accepted,
            file: legible(&config.files[client.file].to_string_lossy()),
        }
    }
}

/// In words.
impl Record {
    pub(super) fn networks(&self) -> String {
        if self.from.is_empty() {
            "anywhere".into()
        } else {
            self.from.join(", ")
        }
    }

    pub(super) fn end(&self) -> String {
        match &self.expires {
            None => "never".into(),
            Some(expires) if self.has_expired => format!("expired {expires}"),
            Some(expires) => expires.clone(),
        }
    }

    pub(super) fn previous(&self) -> String {
        let previous = self.previous_key.as_ref();
        let previous = previous.map(|key| format!("{} until {}", key.fingerprint, key.until));
        or_dash(previous.as_deref())
    }

    pub(super) fn last(&self) -> String {
        let last = self.last_accepted.as_ref();
        let last = last.map(|last| format!("{} from {} ({})", last.time, last.source, last.door));
        or_dash(last.as_deref())
    }
}

impl From<Knock> for LastAccepted {
    fn from(knock: Knock) -> Self {
        let knock = knock.accepted;
        Self {
            time: knock.time,
            source: knock.sender.unwrap_or(knock.source),
            door: knock.door,
        }
    }
}

/// The last knock of each client in the history in `state_dir`. Without it, the clients can be
/// shown all the same.
fn last_knocks(state_dir: &Path) -> HashMap<String, Knock> {
    match history::read(state_dir) {
        Ok(knocks) => last_of_each(knocks),
        Err(error) => {
            warn!(
                "the history of knocks in {} cannot be read: {error}",
                state_dir.display()
            );
            HashMap::new()
        }
    }
}

impl Previous {
    fn new(previous: &PreviousKey) -> Option<Self> {
        let key = public(&previous.secret)?;
        Some(Self {
            public_key: key.to_string(),
            fingerprint: Fingerprint::of(&key).to_string(),
            until: utc::seconds(Duration::from_millis(previous.until)),
        })
    }
}

/// The client called `name` in the configuration `config` at `path`.
///
/// # Errors
///
/// Returns an error if there is none.
pub(super) fn find<'c>(config: &'c Config, path: &Path, name: &str) -> Result<&'c Client> {
    let mut clients = config.clients.iter();
    let client = clients.find(|client| client.name == name);
    client.with_context(|| missing(path, name))
}

/// The public key of `client`, unless it is classic.
pub(super) fn public_key(client: &Client) -> Option<PublicKey> {
    public(&client.secret)
}

fn public(secret: &Secret) -> Option<PublicKey> {
    match secret {
        Secret::Pair(peer) => Some(peer.public),
        Secret::Classic(_) => None,
    }
}

fn missing(path: &Path, name: &str) -> String {
    format!(
        "{} has no client {name:?}: `knockd client list` lists them",
        path.display()
    )
}

/// `text`, or a dash.
pub(super) fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// The `items` in words, or a dash.
pub(super) fn listed(items: &[String]) -> String {
    or_dash(Some(&*items.join(", ")).filter(|text| !text.is_empty()))
}
