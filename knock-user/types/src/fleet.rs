//! A fleet: several daemons whose knocks and doors are one.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// How the engine is reached, and with which certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// The addresses of the servers.
    pub servers: Vec<SocketAddr>,
    /// The name in the certificates of the servers.
    pub server_name: String,
    /// The beginning of every subject, and of the name of the stream.
    pub prefix: String,
    /// The name of this node, or of the administrator: what is sent to it alone has this name in its
    /// subject.
    pub node: String,
    /// The certificates of the authorities that the servers' certificates are checked against, as
    /// PEM.
    pub authorities: String,
    /// The certificate of this host, with those between it and an authority, as PEM.
    pub certificate: String,
    /// The private key of the certificate, as PEM.
    pub key: SecretText,
}

impl Engine {
    /// The name of the stream of claims.
    #[must_use]
    pub fn stream(&self) -> String {
        format!("{}_CLAIMS", self.prefix.to_uppercase())
    }

    /// The subject of the claim `id`. `*` in the place of an identity stands for every claim.
    #[must_use]
    pub fn claim_subject(&self, id: &impl fmt::Display) -> String {
        format!("{}.claim.{id}", self.prefix)
    }

    /// The subject of the beats of `node`. `*` in its place stands for every node.
    #[must_use]
    pub fn node_subject(&self, node: &str) -> String {
        format!("{}.node.{node}", self.prefix)
    }

    /// The beginning of the subjects of answers, which no other node may receive.
    #[must_use]
    pub fn inbox(&self) -> String {
        format!("_INBOX.{}", self.node)
    }
}

/// Text that is wiped from memory and that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes over `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// The key of a fleet. All of its nodes have it, and the engine does not. `Debug` does not show it,
/// and it is wiped when dropped. It is serialized only to send it to the listener.
#[derive(Clone)]
pub struct FleetKey(Zeroizing<[u8; 32]>);

impl FleetKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetKey")
    }
}

impl Serialize for FleetKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FleetKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <[u8; 32]>::deserialize(deserializer).map(|bytes| Self(Zeroizing::new(bytes)))
    }
}

/// What happens to a knock whose claim is not acknowledged in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenUnreachable {
    /// It opens nothing.
    #[default]
    Refuse,
    /// It opens its door on this node if it is bound to its address.
    Bound,
    /// It opens its door on this node.
    Local,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = SecretText::new("secret text".into());
        assert!(!format!("{secret:?}").contains("secret text"));
    }

    #[test]
    fn names_in_the_engine_begin_with_the_prefix() {
        let engine = Engine {
            servers: Vec::new(),
            server_name: String::new(),
            prefix: "knock".into(),
            node: "edge1".into(),
            authorities: String::new(),
            certificate: String::new(),
            key: SecretText::new(String::new()),
        };
        assert_eq!(engine.stream(), "KNOCK_CLAIMS");
        assert_eq!(engine.claim_subject(&"*"), "knock.claim.*");
        assert_eq!(engine.node_subject("edge1"), "knock.node.edge1");
        assert_eq!(engine.inbox(), "_INBOX.edge1");
    }
}
