//! One profile, and the names that it may have.

use std::path::PathBuf;

use knock_common::{
    protocol::{identity::PublicKey, lease::RequestedLease},
    window::Window,
};
use thiserror::Error;

use crate::{
    name::Name,
    resolve_ip::ResolveIp,
    server::Server,
    source_ip::SourceIp,
    time_source::TimeSource,
    transport::{Transport, UdpPort},
    verify::TcpPort,
};

/// The settings for one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name of the profile on the command line.
    pub name: Name,
    /// The server.
    pub server: Server,
    /// The name of this client on the server.
    pub client: Name,
    /// The server's public key.
    pub server_key: PublicKey,
    /// The server's window.
    pub window: Window,
    /// The server's port of datagram knocks.
    pub udp: Option<UdpPort>,
    /// How a knock travels by default.
    pub transport: Option<Transport>,
    /// The file of this client's private key; without it, `knock` prompts for a passphrase.
    pub key_file: Option<PathBuf>,
    /// The default lease of the profile.
    pub lease: Option<RequestedLease>,
    /// The default source address binding of the profile.
    pub source_ip: Option<SourceIp>,
    /// Who tells this host's address by default.
    pub resolve_ip: Option<ResolveIp>,
    /// Where the time of a knock comes from by default.
    pub time: TimeSource,
    /// The port that must answer by default.
    pub verify: Option<TcpPort>,
}

/// A name that cannot be used as the SERVER argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a profile's name must not begin with a hyphen, and may contain colons only if it is an IPv6 address without brackets"
)]
pub struct UnusableName;

/// Checks that `name` can be used as the SERVER argument.
///
/// # Errors
///
/// Returns [`UnusableName`] if it cannot.
pub fn check_name(name: &Name) -> Result<(), UnusableName> {
    match name.as_str().parse::<Server>() {
        Ok(typed) if typed.as_str() == name.as_str() && !name.as_str().starts_with('-') => Ok(()),
        _ => Err(UnusableName),
    }
}
