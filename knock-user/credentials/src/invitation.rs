//! The line that sets up a client: `knock import knock://…`.
//!
//! `knock://CLIENT@HOST:BASE?server=PUBLIC[&udp=PORT][&key=PRIVATE]`: CLIENT is percent-encoded
//! (RFC 3986), an IPv6 HOST is in brackets, BASE is the base of the window, PUBLIC is the server's
//! public key, PORT is that of datagram knocks, and PRIVATE is the client's private key.

use std::{fmt, num::NonZeroU16, str::FromStr};

use knock_common::{
    legible::misleads,
    protocol::identity::{KEY_DIGITS, KeyFileError, PrivateKey, PublicKey, PublicKeyError},
    window::{InvalidBase, Window},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{host::Host, key_file};

const SCHEME: &str = "knock://";
const SERVER: &str = "server";
const UDP: &str = "udp";
const KEY: &str = "key";

/// All characters of a client's name except the unreserved ones are percent-encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Everything that a client needs to knock. It is a secret only if it contains the client's key.
#[derive(Debug)]
pub struct Invitation {
    /// The name of the client on the server.
    pub client: String,
    /// The server's name or address.
    pub host: Host,
    /// The server's window.
    pub window: Window,
    /// The server's public key.
    pub server: PublicKey,
    /// The port of datagram knocks, if the server accepts them.
    pub udp: Option<NonZeroU16>,
    /// The client's private key, if the server made it.
    pub key: Option<PrivateKey>,
}

/// Why a text is not an invitation. No variant contains any of the text.
#[derive(Debug, Error)]
pub enum InvitationError {
    /// A part is missing, unknown or there twice.
    #[error(
        "an invitation looks like knock://CLIENT@HOST:BASE?server=KEY, as `knockd client add` prints it"
    )]
    Form,
    /// The client's name is empty, not UTF-8 or has control characters.
    #[error("the client's name in the invitation is not valid")]
    Client,
    /// The host is invalid. The reason may contain some of the text.
    #[error("the server's name in the invitation is not valid")]
    Host,
    /// The base of the window is invalid.
    #[error(transparent)]
    Base(#[from] InvalidBase),
    /// The port of datagram knocks is invalid.
    #[error("the udp port in the invitation is not a number from 1 to 65535")]
    Udp,
    /// The server's public key is invalid.
    #[error("the server's key in the invitation is not valid")]
    Server(#[from] PublicKeyError),
    /// The client's private key is invalid.
    #[error("the client's key in the invitation is not valid")]
    Key(#[from] KeyFileError),
}

impl Invitation {
    /// The invitation as one line.
    #[must_use]
    pub fn to_uri(&self) -> Zeroizing<String> {
        let client = utf8_percent_encode(&self.client, ENCODED);
        let host = Authority(&self.host);
        let base = self.window.base();
        let mut open = format!("{SCHEME}{client}@{host}:{base}?{SERVER}={}", self.server);
        if let Some(port) = self.udp {
            open.push_str(&format!("&{UDP}={port}"));
        }
        let Some(key) = &self.key else {
            return Zeroizing::new(open);
        };
        // Room for the whole text, because growing it would leave part of the key in memory.
        let room = open.len() + KEY.len() + 2 + KEY_DIGITS;
        let mut uri = Zeroizing::new(String::with_capacity(room));
        uri.push_str(&open);
        uri.push_str(&format!("&{KEY}="));
        uri.push_str(&key_file::digits(key));
        uri
    }
}

/// A host in the form of a URI.
struct Authority<'a>(&'a Host);

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.as_str().contains(':') {
            write!(f, "[{}]", self.0)
        } else {
            self.0.fmt(f)
        }
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(uri: &str) -> Result<Self, InvitationError> {
        use InvitationError::Form;

        let rest = uri.trim().strip_prefix(SCHEME).ok_or(Form)?;
        let (client, rest) = rest.split_once('@').ok_or(Form)?;
        let (authority, query) = rest.split_once('?').ok_or(Form)?;
        let (host, base) = authority.rsplit_once(':').ok_or(Form)?;
        let host = host.parse().map_err(|_| InvitationError::Host)?;
        let client = percent_decode_str(client)
            .decode_utf8()
            .map_err(|_| InvitationError::Client)?;
        if client.is_empty() || client.chars().any(misleads) {
            return Err(InvitationError::Client);
        }
        let query = Query::parse(query)?;
        let port = |text: &str| text.parse().map_err(|_| InvitationError::Udp);
        let private = |text: &str| PrivateKey::from_text(text.as_bytes());
        Ok(Self {
            client: client.into_owned(),
            host,
            window: Window::new(base.parse().map_err(|_| Form)?)?,
            server: query.server.ok_or(Form)?.parse()?,
            udp: query.udp.map(port).transpose()?,
            key: query.key.map(private).transpose()?,
        })
    }
}

/// The parameters of the URI.
#[derive(Default)]
struct Query<'a> {
    server: Option<&'a str>,
    udp: Option<&'a str>,
    key: Option<&'a str>,
}

impl<'a> Query<'a> {
    fn parse(text: &'a str) -> Result<Self, InvitationError> {
        let mut query = Self::default();
        for parameter in text.split('&') {
            let (name, value) = parameter.split_once('=').ok_or(InvitationError::Form)?;
            let place = match name {
                SERVER => &mut query.server,
                UDP => &mut query.udp,
                KEY => &mut query.key,
                _ => return Err(InvitationError::Form),
            };
            if place.replace(value).is_some() {
                return Err(InvitationError::Form);
            }
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRIVATE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    const PUBLIC: &str = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI";

    fn invitation(key: Option<&str>) -> Invitation {
        Invitation {
            client: "Jörg's laptop".into(),
            host: "2001:db8::1".parse().unwrap(),
            window: Window::new(40_000).unwrap(),
            server: PUBLIC.parse().unwrap(),
            udp: NonZeroU16::new(62_201),
            key: key.map(|key| PrivateKey::from_text(key.as_bytes()).unwrap()),
        }
    }

    #[test]
    fn an_invitation_is_one_line() {
        let open =
            format!("knock://J%C3%B6rg%27s%20laptop@[2001:db8::1]:40000?server={PUBLIC}&udp=62201");
        assert_eq!(**invitation(None).to_uri(), *open);
        let uri = invitation(Some(PRIVATE)).to_uri();
        assert_eq!(**uri, *format!("{open}&key={PRIVATE}"));
        let read: Invitation = uri.parse().unwrap();
        assert_eq!(read.client, "Jörg's laptop");
        assert_eq!(read.host.as_str(), "2001:db8::1");
        assert_eq!(read.window.base(), 40_000);
        assert_eq!(read.server.to_string(), PUBLIC);
        assert_eq!(read.udp, NonZeroU16::new(62_201));
        assert!(read.key == invitation(Some(PRIVATE)).key);
        assert!(!format!("{read:?}").contains(PRIVATE));
    }

    #[test]
    fn parameters_come_in_any_order() {
        let uri = format!("knock://a@host:61000?key={PRIVATE}&server={PUBLIC}");
        let read: Invitation = uri.parse().unwrap();
        assert_eq!(read.udp, None);
        assert!(read.key.is_some());
    }

    #[test]
    fn an_invalid_invitation_is_refused_and_not_shown() {
        let good = format!("server={PUBLIC}&key={PRIVATE}");
        for uri in [
            "",
            "knock://",
            &format!("http://laptop@host:61000?{good}"),
            &format!("knock://laptop@host?{good}"),
            &format!("knock://laptop@:61000?{good}"),
            &format!("knock://@host:61000?{good}"),
            &format!("knock://%ff@host:61000?{good}"),
            &format!("knock://laptop@ho st:61000?{good}"),
            &format!("knock://laptop@-oProxyCommand=x:61000?{good}"),
            &format!("knock://laptop@host:0?{good}"),
            &format!("knock://laptop@host:65536?{good}"),
            &format!("knock://laptop@host:61000?{good}A"),
            &format!("knock://laptop@host:61000?{good}&key={PRIVATE}"),
            &format!("knock://laptop@host:61000?{good}&port=1"),
            &format!("knock://laptop@host:61000?{good}&udp=0"),
            &format!("knock://laptop@host:61000?{good}&udp=65536"),
            &format!("knock://laptop@host:61000?{good}&"),
            &format!("knock://laptop@host:61000?key={PRIVATE}"),
            &format!(
                "knock://laptop@host:61000?server={}&key={PRIVATE}",
                &PUBLIC[1..]
            ),
            &format!(
                "knock://laptop@host:61000?server={PUBLIC}&key={}",
                &PRIVATE[1..]
            ),
            &format!("knock://laptop@host:61000/{PRIVATE}"),
        ] {
            let error = uri.parse::<Invitation>().unwrap_err().to_string();
            assert!(!error.contains(&PRIVATE[1..]), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_name_round_trips(
            client in "[^\\p{C}\\p{Z}]{1,30}",
            base in 1..=Window::MAX_BASE,
            key: Option<[u8; 32]>,
            server: [u8; 32],
            udp: u16,
        ) {
            let invitation = Invitation {
                client,
                host: "server.example.net".parse().unwrap(),
                window: Window::new(base).unwrap(),
                server: PublicKey(server),
                udp: NonZeroU16::new(udp),
                key: key.map(PrivateKey::new),
            };
            let read: Invitation = invitation.to_uri().parse().unwrap();
            prop_assert_eq!(read.client, invitation.client);
            prop_assert_eq!(read.server, invitation.server);
            prop_assert_eq!(read.udp, invitation.udp);
            prop_assert!(read.key == invitation.key);
        }

        #[test]
        fn nothing_panics(uri: String) {
            let _ = uri.parse::<Invitation>();
        }
    }
}
