//! The part of the configuration that is needed to authenticate a knock. The listener receives
//! this part only.

use std::{fmt, time::Duration};

use knock_common::protocol::{
    block::BODY_LEN,
    classic::Sequence,
    key::{CLASSIC_KEY_LEN, ClassicKey, ClassicSecret, SECRET_KEY_LEN, SealedKey, SecretKey},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The clients, the doors, and which client may open which door.
#[derive(Debug, Serialize, Deserialize)]
pub struct Policy {
    /// The clients that may knock.
    pub clients: Vec<Client>,
    /// The doors that they may open.
    pub doors: Vec<Door>,
}

impl Policy {
    /// Whether a client uses the sealed protocol, which needs the replay store.
    #[must_use]
    pub fn has_sealed_clients(&self) -> bool {
        let mut clients = self.clients.iter();
        clients.any(|client| matches!(client.secret, Secret::Sealed(_)))
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
}

/// A door that a knock opens.
#[derive(Debug, Serialize, Deserialize)]
pub struct Door {
    /// The number that identifies the door in IPC requests.
    pub number: u32,
    /// The door's name. A sealed knock refers to the door by this name.
    pub name: String,
    /// Indices of the clients that may open the door.
    pub clients: Vec<usize>,
    /// The sequence that a classic client sends.
    #[serde(serialize_with = "write_sequence", deserialize_with = "read_sequence")]
    pub sequence: Option<Sequence>,
    /// How long the door stays open.
    pub lease: Duration,
    /// The longest time that a sealed knock may request.
    pub max_lease: Duration,
    /// Whether a sealed knock has to be bound to its source address.
    pub require_binding: bool,
}

/// The secret that a client's key is derived from. `Debug` does not show it, and it is wiped when
/// dropped. It is serialized only to send it to the listener.
#[derive(Serialize, Deserialize)]
#[serde(from = "Bytes", into = "Bytes")]
pub enum Secret {
    /// The key of a sealed client.
    Sealed(SecretKey),
    /// The passphrase of a classic client.
    Classic(ClassicSecret),
}

/// A client's key, expanded for decryption.
#[derive(Clone, Debug)]
pub enum Key {
    /// A key of the sealed protocol.
    Sealed(SealedKey),
    /// A key of the classic protocol, whose knocks can be replayed.
    Classic(ClassicKey),
}

impl Secret {
    /// Derives the key.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Sealed(secret) => Key::Sealed(SealedKey::new(secret)),
            Self::Classic(secret) => Key::Classic(ClassicKey::new(secret)),
        }
    }
}

impl Clone for Secret {
    fn clone(&self) -> Self {
        match self {
            Self::Sealed(secret) => Self::Sealed(SecretKey::new(*secret.expose())),
            Self::Classic(secret) => Self::Classic(ClassicSecret::new(*secret.expose())),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealed(_) => "Sealed(..)",
            Self::Classic(_) => "Classic(..)",
        })
    }
}

/// The serialized form of a [`Secret`].
#[derive(Serialize, Deserialize)]
enum Bytes {
    Sealed([u8; SECRET_KEY_LEN]),
    Classic([u8; CLASSIC_KEY_LEN]),
}

impl From<Bytes> for Secret {
    fn from(bytes: Bytes) -> Self {
        match bytes {
            Bytes::Sealed(bytes) => Self::Sealed(SecretKey::new(bytes)),
            Bytes::Classic(bytes) => Self::Classic(ClassicSecret::new(bytes)),
        }
    }
}

impl From<Secret> for Bytes {
    fn from(secret: Secret) -> Self {
        match secret {
            Secret::Sealed(secret) => Self::Sealed(*secret.expose()),
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
    use super::*;

    #[test]
    fn a_policy_survives_the_channel_and_shows_no_secret() {
        let client = |number, secret| Client {
            number,
            name: format!("client-{number}"),
            secret,
        };
        let policy = Policy {
            clients: vec![
                client(1, Secret::Sealed(SecretKey::new([65; SECRET_KEY_LEN]))),
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
            }],
        };
        let json = serde_json::to_string(&policy).unwrap();
        let read: Policy = serde_json::from_str(&json).unwrap();
        assert_eq!(json, serde_json::to_string(&read).unwrap());
        assert_eq!(read.doors[0].sequence, policy.doors[0].sequence);
        let shown = format!("{read:?}");
        for byte in ["65", "66", "67", "68", "AA", "BB"] {
            assert!(!shown.contains(byte), "{shown}");
        }
    }
}
