//! The line that sets up a client: `knock import knock://…`.
//!
//! `knock://CLIENT@HOST:BASE/KEY`: CLIENT is percent-encoded (RFC 3986), an IPv6 HOST is in
//! brackets, BASE is the base of the window, and KEY is the 43 characters after `knock1:` in
//! the key file.

use std::{fmt, str::FromStr};

use knock_common::{
    protocol::key::{KEY_FILE_LEN, KeyFileError, SecretKey},
    window::{InvalidBase, Window},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::key_file;

const SCHEME: &str = "knock://";
const KEY_PREFIX: &str = "knock1:";

/// All characters of a client's name except the unreserved ones are percent-encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Everything that a client needs to knock. Contains the client's key.
#[derive(Debug)]
pub struct Invitation {
    /// The name of the client on the server.
    pub client: String,
    /// The server's name or address, an IPv6 address without brackets.
    pub host: String,
    /// The server's window.
    pub window: Window,
    /// The client's key.
    pub key: SecretKey,
}

/// Why a text is not an invitation. No variant contains any of the text.
#[derive(Debug, Error)]
pub enum InvitationError {
    /// A part is missing.
    #[error("an invitation looks like knock://CLIENT@HOST:BASE/KEY, as `knockd init` prints it")]
    Form,
    /// The client's name is empty, not UTF-8 or has control characters.
    #[error("the client's name in the invitation is not valid")]
    Client,
    /// The base of the window is invalid.
    #[error(transparent)]
    Base(#[from] InvalidBase),
    /// The key is invalid.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

impl Invitation {
    /// The invitation as one line. It is as secret as its key.
    #[must_use]
    pub fn to_uri(&self) -> Zeroizing<String> {
        let host = Host(&self.host);
        let client = utf8_percent_encode(&self.client, ENCODED);
        let start = format!("{SCHEME}{client}@{host}:{}/", self.window.base());
        let mut uri = Zeroizing::new(String::with_capacity(start.len() + KEY_FILE_LEN));
        uri.push_str(&start);
        let key = key_file::text(&self.key);
        uri.push_str(key.strip_prefix(KEY_PREFIX).unwrap_or(&key));
        uri
    }
}

/// A host in the form of a URI.
struct Host<'a>(&'a str);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') {
            write!(f, "[{}]", self.0)
        } else {
            f.write_str(self.0)
        }
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(uri: &str) -> Result<Self, InvitationError> {
        use InvitationError::Form;

        let rest = uri.trim().strip_prefix(SCHEME).ok_or(Form)?;
        let (client, rest) = rest.split_once('@').ok_or(Form)?;
        let (authority, key) = rest.split_once('/').ok_or(Form)?;
        let (host, base) = authority.rsplit_once(':').ok_or(Form)?;
        let host = match host.strip_prefix('[') {
            Some(address) => address.strip_suffix(']').ok_or(Form)?,
            None => host,
        };
        let is_host = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(Form);
        }
        let client = percent_decode_str(client)
            .decode_utf8()
            .map_err(|_| InvitationError::Client)?;
        if client.is_empty() || client.chars().any(char::is_control) {
            return Err(InvitationError::Client);
        }
        let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_LEN));
        text.push_str(KEY_PREFIX);
        // Limited to the length of a key, so that the string does not grow.
        text.extend(key.chars().take(KEY_FILE_LEN));
        Ok(Self {
            client: client.into_owned(),
            host: host.to_owned(),
            window: Window::new(base.parse().map_err(|_| Form)?)?,
            key: SecretKey::from_key_file(text.as_bytes())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    #[test]
    fn an_invitation_is_one_line() {
        let invitation = Invitation {
            client: "Jörg's laptop".into(),
            host: "2001:db8::1".into(),
            window: Window::new(40_000).unwrap(),
            key: SecretKey::from_key_file(format!("knock1:{KEY}").as_bytes()).unwrap(),
        };
        let uri = invitation.to_uri();
        assert_eq!(
            **uri,
            *format!("knock://J%C3%B6rg%27s%20laptop@[2001:db8::1]:40000/{KEY}")
        );
        let read: Invitation = uri.parse().unwrap();
        assert_eq!(read.client, invitation.client);
        assert_eq!(read.host, invitation.host);
        assert_eq!(read.window, invitation.window);
        assert!(read.key == invitation.key);
        assert!(!format!("{read:?}").contains(KEY));
    }

    #[test]
    fn an_invalid_invitation_is_refused_and_not_shown() {
        for uri in [
            "",
            "knock://",
            &format!("http://laptop@host:61000/{KEY}"),
            &format!("knock://laptop@host/{KEY}"),
            &format!("knock://laptop@:61000/{KEY}"),
            &format!("knock://@host:61000/{KEY}"),
            &format!("knock://%ff@host:61000/{KEY}"),
            &format!("knock://laptop@ho st:61000/{KEY}"),
            &format!("knock://laptop@-oProxyCommand=x:61000/{KEY}"),
            &format!("knock://laptop@host:0/{KEY}"),
            &format!("knock://laptop@host:65536/{KEY}"),
            &format!("knock://laptop@host:61000/{KEY}A"),
            &format!("knock://laptop@host:61000/{}", &KEY[1..]),
        ] {
            let error = uri.parse::<Invitation>().unwrap_err().to_string();
            assert!(!error.contains(&KEY[1..]), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_name_round_trips(client in "[^\\p{Cc}]{1,30}", base in 1..=Window::MAX_BASE, key: [u8; 32]) {
            let invitation = Invitation {
                client,
                host: "server.example.net".into(),
                window: Window::new(base).unwrap(),
                key: SecretKey::new(key),
            };
            let read: Invitation = invitation.to_uri().parse().unwrap();
            prop_assert_eq!(read.client, invitation.client);
            prop_assert!(read.key == invitation.key);
        }

        #[test]
        fn nothing_panics(uri: String) {
            let _ = uri.parse::<Invitation>();
        }
    }
}
