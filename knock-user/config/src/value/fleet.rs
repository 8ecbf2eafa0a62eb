//! The values of `[fleet]`.

use std::{net::SocketAddr, time::Duration};

use knock_common::legible::misleads;
use serde::Deserialize;

use super::duration_between;

checked! {
    /// The socket address of a server of the engine. The process that connects has no resolver, so
    /// it is no name.
    Server(SocketAddr) from "String"
}

impl TryFrom<String> for Server {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let address = text.parse().ok().filter(|at: &SocketAddr| at.port() != 0);
        let mistake = "this is not an address with a port, such as \"192.0.2.11:4222\"; a name is not resolved here, and goes into `server_name`";
        address.map(Self).ok_or(mistake)
    }
}

checked! {
    /// The name in the servers' certificates.
    ServerName(String) from "String"
}

impl TryFrom<String> for ServerName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
        if name.is_empty() || name.len() > 253 || !name.chars().all(is_allowed) {
            return Err("this is not a host name or an address, as a certificate has it");
        }
        Ok(Self(name))
    }
}

/// The parts of subjects of the engine, which are separated by dots.
fn is_word(text: &str, max: usize) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (1..=max).contains(&text.len()) && text.chars().all(is_allowed)
}

checked! {
    /// The beginning of every subject.
    Prefix(String) from "String"
}

impl Default for Prefix {
    fn default() -> Self {
        Self("knock".into())
    }
}

impl TryFrom<String> for Prefix {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if !is_word(&text, 32) {
            return Err("a prefix has 1 to 32 letters, digits, `-` and `_`");
        }
        Ok(Self(text))
    }
}

checked! {
    /// The name of a node.
    Node(String) from "String"
}

impl TryFrom<String> for Node {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if !is_word(&text, 64) || text.contains(misleads) {
            return Err("the name of a node has 1 to 64 letters, digits, `-` and `_`");
        }
        Ok(Self(text))
    }
}

impl Node {
    /// The name of this host, without its domain, if it can be that of a node.
    pub(crate) fn of_host() -> Option<Self> {
        let host = rustix::system::uname();
        let host = host.nodename().to_str().ok()?;
        let name = host.split('.').next().unwrap_or_default();
        Self::try_from(name.to_owned()).ok()
    }
}

checked! {
    /// How long a knock waits for its claim.
    Patience(Duration) from "String"
}

impl Default for Patience {
    fn default() -> Self {
        Self(Duration::from_secs(1))
    }
}

impl TryFrom<String> for Patience {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(30));
        duration_between(&text, min, max).map(Self)
    }
}
