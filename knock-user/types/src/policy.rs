//! The part of the configuration that is needed to authenticate a knock. The listener receives
//! this part only.

use std::{fmt, time::Duration};

use knock_common::protocol::{
    block::BODY_LEN,
    classic::{CLASSIC_KEY_LEN, ClassicKey, ClassicSecret, Sequence},
    identity::{KEY_LEN, PrivateKey, PublicKey},
    syn::{SynKey, SynSecret},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::conditions::Conditions;

/// The clients, the doors, and which client may open which door.
#[derive(Debug, Serialize, Deserialize)]
pub struct Policy {
    /// The clients that may knock.
    pub clients: Vec<Client>,
    /// The doors that they may open.
    pub doors: Vec<Door>,
    /// The server's private key, which only datagrams need. Without them the listener does not
    /// have it.
    pub server: Option<ServerKey>,
}

impl Policy {
    /// Whether a client has a key pair. Its knocks are single-use, which needs the replay store.
    #[must_use]
    pub fn has_single_use_knocks(&self) -> bool {
        let mut clients = self.clients.iter();
        clients.any(|client| matches!(client.secret, Secret::Pair(_)))
    }
}

/// The server's private key. `Debug` does not show it, and it is wiped when dropped. It is
/// serialized only to send it to the listener.
#[derive(Debug, Serialize, Deserialize)]
#[serde(from = "[u8; KEY_LEN]", into = "[u8; KEY_LEN]")]
pub struct ServerKey(pub PrivateKey);

impl Clone for ServerKey {
    fn clone(&self) -> Self {
        Self(PrivateKey::new(*self.0.expose()))
    }
}

impl From<[u8; KEY_LEN]> for ServerKey {
    fn from(bytes: [u8; KEY_LEN]) -> Self {
        Self(PrivateKey::new(bytes))
    }
}

impl From<ServerKey> for [u8; KEY_LEN] {
    fn from(key: ServerKey) -> Self {
        *key.0.expose()
    }
}

/// A client that may knock.
#[derive(Debug, Serialize, Deserialize)]
pub struct Client {
    /// The number that identifies the client in IPC requests.
    pub number: u32,
    /// The client's name.
    pub name: String,
    /// The secret that the client's key is derived from.
    pub secret: Secret,
    /// The key that the client had before, if it is still configured.
    pub previous: Option<PreviousKey>,
    /// When and from where the client may knock.
    pub conditions: Conditions,
}

/// The key that a client had before. It is accepted for some time, so that the client can be given
/// the next one meanwhile.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviousKey {
    /// The secret that the key is derived from.
    pub secret: Secret,
    /// The time from which on the key is not accepted, in Unix milliseconds.
    pub until: u64,
}

/// A door that a knock opens.
#[derive(Debug, Serialize, Deserialize)]
pub struct Door {
    /// The number that identifies the door in IPC requests.
    pub number: u32,
    /// The door's name. A knock refers to the door by a digest of this name.
    pub name: String,
    /// Indices of the clients that may open the door.
    pub clients: Vec<usize>,
    /// The sequence that a classic client sends.
    #[serde(serialize_with = "write_sequence", deserialize_with = "read_sequence")]
    pub sequence: Option<Sequence>,
    /// How long the door stays open.
    pub lease: Duration,
    /// The longest time that a knock may request.
    pub max_lease: Duration,
    /// Whether a knock has to be bound to its source address.
    pub require_binding: bool,
    /// Whether a datagram may open the door for another address than its own.
    pub allow_other: bool,
    /// Whether it opens on every node of the fleet.
    pub everywhere: bool,
}

/// What the listener verifies the knocks of a client with. `Debug` does not show secrets, and they
/// are wiped when dropped. They are serialized only to send them to the listener.
#[derive(Serialize, Deserialize)]
#[serde(from = "Bytes", into = "Bytes")]
pub enum Secret {
    /// A client with a key pair.
    Pair(Peer),
    /// The passphrase of a classic client.
    Classic(ClassicSecret),
}

/// A client with a key pair.
pub struct Peer {
    /// The client's public key.
    pub public: PublicKey,
    /// The secret of its SYN knocks to this server.
    pub syn: SynSecret,
}

/// A client's key, expanded for decryption.
#[derive(Clone, Debug)]
pub enum Key {
    /// The key of SYN knocks that are single-use.
    Syn(SynKey),
    /// A key of the classic protocol, whose knocks can be replayed.
    Classic(ClassicKey),
}

impl Secret {
    /// Derives the key.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Pair(peer) => Key::Syn(SynKey::new(&peer.syn)),
            Self::Classic(secret) => Key::Classic(ClassicKey::new(secret)),
        }
    }
}

/// Whether it is the same client. The comparison takes constant time.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            // The other part depends on the server's key too.
            (Self::Pair(one), Self::Pair(other)) => one.public == other.public,
            (Self::Classic(one), Self::Classic(other)) => one == other,
            _ => false,
        }
    }
}

impl Clone for Secret {
    fn clone(&self) -> Self {
        match self {
            Self::Pair(Peer { public, syn }) => Self::Pair(Peer {
                public: *public,
                syn: SynSecret::new(*syn.expose()),
            }),
            Self::Classic(secret) => Self::Classic(ClassicSecret::new(*secret.expose())),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pair(_) => "Pair(..)",
            Self::Classic(_) => "Classic(..)",
        })
    }
}

/// The serialized form of a [`Secret`].
#[derive(Serialize, Deserialize)]
enum Bytes {
    Pair {
        public: [u8; KEY_LEN],
        // In two halves, because serde knows arrays of up to 32 elements.
        syn: [[u8; KEY_LEN]; 2],
    },
    Classic([u8; CLASSIC_KEY_LEN]),
}

impl From<Bytes> for Secret {
    fn from(bytes: Bytes) -> Self {
        match bytes {
            Bytes::Pair { public, syn } => Self::Pair(Peer {
                public: PublicKey(public),
                syn: SynSecret::new(std::array::from_fn(|index| {
                    syn[index / KEY_LEN][index % KEY_LEN]
                })),
            }),
            Bytes::Classic(bytes) => Self::Classic(ClassicSecret::new(bytes)),
        }
    }
}

impl From<Secret> for Bytes {
    fn from(secret: Secret) -> Self {
        match secret {
            Secret::Pair(peer) => Self::Pair {
                public: peer.public.0,
                syn: std::array::from_fn(|half| {
                    std::array::from_fn(|index| peer.syn.expose()[half * KEY_LEN + index])
                }),
            },
            Secret::Classic(secret) => Self::Classic(*secret.expose()),
        }
    }
}

fn write_sequence<S: Serializer>(
    sequence: &Option<Sequence>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let body = sequence
        .as_ref()
        .map(|sequence| &sequence.plaintext().as_bytes()[..BODY_LEN]);
    body.serialize(serializer)
}

fn read_sequence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Sequence>, D::Error> {
    let body = Option::<Vec<u8>>::deserialize(deserializer)?;
    body.map(|body| Sequence::new(&body).map_err(D::Error::custom))
        .transpose()
}

#[cfg(test)]
mod tests {
    use knock_common::protocol::syn::SYN_SECRET_LEN;

    use super::*;

    #[test]
    fn a_policy_survives_the_channel_and_shows_no_secret() {
        let pair = |byte| {
            Secret::Pair(Peer {
                public: PublicKey([byte - 1; KEY_LEN]),
                syn: SynSecret::new([byte; SYN_SECRET_LEN]),
            })
        };
        let client = |number, secret| Client {
            number,
            name: format!("client-{number}"),
            previous: Some(PreviousKey {
                secret: pair(68),
                until: 1,
            }),
            secret,
            conditions: Conditions {
                expires: Some(2),
                from: vec!["192.0.2.0/24".parse().unwrap()],
            },
        };
        let policy = Policy {
            clients: vec![
                client(1, pair(65)),
                client(
                    2,
                    Secret::Classic(ClassicSecret::new([66; CLASSIC_KEY_LEN])),
                ),
            ],
            doors: vec![Door {
                number: 7,
                name: "ssh".into(),
                clients: vec![0, 1],
                sequence: Some(Sequence::new(&[67, 68]).unwrap()),
                lease: Duration::from_secs(30),
                max_lease: Duration::from_secs(60),
                require_binding: true,
                allow_other: false,
                everywhere: true,
            }],
            server: Some(ServerKey(PrivateKey::new([69; KEY_LEN]))),
        };
        let json = serde_json::to_string(&policy).unwrap();
        let read: Policy = serde_json::from_str(&json).unwrap();
        assert_eq!(json, serde_json::to_string(&read).unwrap());
        assert_eq!(read.doors[0].sequence, policy.doors[0].sequence);
        let shown = format!("{read:?}");
        for byte in ["65", "66", "67", "68", "69", "AA", "BB"] {
            assert!(!shown.contains(byte), "{shown}");
        }
    }
}
