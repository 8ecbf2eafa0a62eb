//! A knock that is described by texts and numbers, as other languages and configurations do.

use std::num::NonZeroU16;

use knock_common::{
    protocol::{
        identity::{KeyFileError, KeyPair, LowOrder, Owner, PrivateKey, PublicKey, PublicKeyError},
        lease::RequestedLease,
    },
    window::{InvalidBase, Window},
};
use knockd_credentials::{
    host::{Host, InvalidHost},
    invitation::{Invitation, InvitationError},
};
use thiserror::Error;

use crate::{
    knocker::{Knocker, Target},
    name::{InvalidName, Name},
    source_ip::{InvalidSourceIp, SourceIp},
};

/// Who knocks on which door of which server: an invitation, or the parts of one.
///
/// A part takes precedence over the same part of the invitation. Without an invitation, `server`,
/// `server_key` and `key` are required.
#[derive(Clone, Copy, Default)]
pub struct Description<'a> {
    /// The invitation, `knock://CLIENT@HOST:BASE?server=PUBLIC`. It is secret if it contains a key.
    pub invitation: Option<&'a str>,
    /// The client's private key, as in a key file: `knock2:` and 43 characters. It is secret.
    pub key: Option<&'a str>,
    /// The server's name or address.
    pub server: Option<&'a str>,
    /// The server's public key: 43 characters.
    pub server_key: Option<&'a str>,
    /// The first port of SYN knocks; 61000 if it is in neither.
    pub base: Option<u16>,
    /// The port of datagram knocks; 62201 if it is in neither.
    pub udp_port: Option<u16>,
    /// The name of the door.
    pub door: &'a str,
    /// The source address that the knock is bound to: `auto`, `none` or an address; without it `auto`.
    pub source_ip: Option<&'a str>,
    /// The seconds that the door is to stay open; 0 for the door's default, `u32::MAX` to close it.
    pub lease: u32,
}

/// Why a [`Description`] is of no knock. No variant contains a key.
#[derive(Debug, Error)]
pub enum DescriptionError {
    /// The invitation is not one.
    #[error("invitation: {0}")]
    Invitation(InvitationError),
    /// There is no private key.
    #[error(
        "key: the client's private key is missing: use an invitation that contains it, or `key`"
    )]
    NoKey,
    /// The private key is not one.
    #[error("key: {0}")]
    Key(KeyFileError),
    /// There is no server.
    #[error("server: it is missing: use an invitation, or `server` and `server_key`")]
    NoServer,
    /// The server is not one.
    #[error("server: {0}")]
    Server(InvalidHost),
    /// The server's public key is missing.
    #[error("server_key: it is missing; `knockd public-key` prints it on the server")]
    NoServerKey,
    /// The server's public key is not one.
    #[error("server_key: {0}")]
    ServerKey(PublicKeyError),
    /// The server's public key belongs to no key pair.
    #[error("server_key: {0}")]
    LowOrder(LowOrder),
    /// The first port is not one.
    #[error("base: {0}")]
    Base(InvalidBase),
    /// The port of datagrams is 0.
    #[error("udp_port: it must be a number from 1 to 65535")]
    UdpPort,
    /// The door's name is not one.
    #[error("door: {0}")]
    Door(InvalidName),
    /// The source address is not one.
    #[error("source_ip: {0}")]
    SourceIp(InvalidSourceIp),
}

impl Description<'_> {
    /// The client that is described.
    ///
    /// # Errors
    ///
    /// Returns [`DescriptionError`] with the part that is missing or wrong.
    pub fn knocker(&self) -> Result<Knocker, DescriptionError> {
        use DescriptionError as E;

        let invitation: Option<Invitation> = match self.invitation {
            Some(text) => Some(text.parse().map_err(E::Invitation)?),
            None => None,
        };
        let target = self.target(invitation.as_ref())?;
        let key = match self.key {
            Some(text) => {
                let text = text.trim_ascii().as_bytes();
                Some(PrivateKey::from_key_file(Owner::Client, text).map_err(E::Key)?)
            }
            None => invitation.and_then(|invitation| invitation.key),
        };
        let keys = KeyPair::from(key.ok_or(E::NoKey)?);
        let door: Name = self.door.parse().map_err(E::Door)?;
        let source_ip = match self.source_ip {
            Some(text) => text.parse().map_err(E::SourceIp)?,
            None => SourceIp::default(),
        };
        let knocker = Knocker::new(target, keys, &door).map_err(E::LowOrder)?;
        Ok(knocker
            .with_source_ip(source_ip)
            .with_lease(RequestedLease::from_seconds(self.lease)))
    }

    /// The server of this description, whose other parts are those of `invitation`.
    fn target(&self, invitation: Option<&Invitation>) -> Result<Target, DescriptionError> {
        use DescriptionError as E;

        let host: Host = match (self.server, invitation) {
            (Some(text), _) => text.parse().map_err(E::Server)?,
            (None, Some(invitation)) => invitation.host.clone(),
            (None, None) => return Err(E::NoServer),
        };
        let key: PublicKey = match (self.server_key, invitation) {
            (Some(text), _) => text.parse().map_err(E::ServerKey)?,
            (None, Some(invitation)) => invitation.server,
            (None, None) => return Err(E::NoServerKey),
        };
        let mut target = Target::new(host, key);
        if let Some(invitation) = invitation {
            target.window = invitation.window;
            target.udp = invitation.udp.map(Into::into).unwrap_or_default();
        }
        if let Some(base) = self.base {
            target.window = Window::new(base).map_err(E::Base)?;
        }
        if let Some(port) = self.udp_port {
            target.udp = NonZeroU16::new(port).ok_or(E::UdpPort)?.into();
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests;
