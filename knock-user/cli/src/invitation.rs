//! A new client: its key pair, and the command that sets up the client.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use knock_common::protocol::identity::{KeyPair, PublicKey};
use knockd_config::Config;
use knockd_credentials::{host::Host, invitation::Invitation, key_file};
use qrcode::{QrCode, render::unicode::Dense1x2};
use zeroize::Zeroizing;

use crate::output;

/// What an invitation contains besides the client's key.
#[derive(Args, Debug)]
pub(crate) struct AddressArgs {
    /// The name or address by which the client reaches this server [default: the host name]
    #[arg(long, value_name = "HOST")]
    server: Option<String>,
    /// Also print the knock:// address as a QR code
    #[arg(long)]
    pub(crate) qr: bool,
}

impl AddressArgs {
    /// The name or address of this server for its clients.
    ///
    /// # Errors
    ///
    /// Returns an error if it is invalid.
    pub(crate) fn host(&self) -> Result<Host> {
        if let Some(server) = &self.server {
            return server.parse().context("--server");
        }
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .parse()
            .context("clients cannot use the name of this host: give --server HOST")
    }
}

/// Without `--public-key` the printed command contains the client's private key: give it to nobody
/// else. The server does not keep it.
#[derive(Args, Debug)]
pub(crate) struct InvitationArgs {
    #[command(flatten)]
    pub(crate) address: AddressArgs,
    /// The public key of a key pair that the client has made with `knock enroll` or `knock keygen`.
    /// Then the printed command is no secret [default: a new key pair]
    // One key in 64 begins with a hyphen. Not parsed by clap, which would show an invalid value: it
    // may be a private key.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    public_key: Option<String>,
}

impl InvitationArgs {
    /// A new client called `name`.
    ///
    /// # Errors
    ///
    /// Returns an error if `name` is not a valid file name, as which the client uses it, and those of
    /// [`InvitationArgs::known_client`].
    pub(crate) fn client(&self, name: &str) -> Result<NewClient> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty()
            || name.len() > 64
            || name.starts_with('.')
            || !name.chars().all(is_plain)
        {
            bail!("{name:?} is not a valid client name: use letters, digits, `-`, `_` and `.`");
        }
        self.known_client(name)
    }

    /// The client called `name`, which the configuration has, with a new key.
    ///
    /// # Errors
    ///
    /// Returns an error if the public key or the server is invalid, or if the kernel provides no random
    /// numbers.
    pub(crate) fn known_client(&self, name: &str) -> Result<NewClient> {
        let host = self.address.host()?;
        let public_key = self.public_key.as_deref().map(str::parse).transpose();
        let public_key = public_key.context("--public-key")?;
        NewClient::new(name, host, public_key)
    }
}

/// An invitation, ready to be shown.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The command that sets up the client, and with `--qr` the QR code.
    text: Zeroizing<String>,
    /// Whether it contains a key that is nowhere else.
    is_secret: bool,
}

impl Shown {
    /// The command, and the QR code. It may be secret.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Shows it. Until then nothing should be changed: what it contains is on the server nowhere.
    ///
    /// # Errors
    ///
    /// Returns an error if standard output does not take it.
    pub(crate) fn print(&self) -> Result<()> {
        if self.is_secret {
            output::print_secret(&self.text)
        } else {
            output::print(&self.text)
        }
    }
}

/// A client to set up.
#[derive(Debug)]
pub(crate) struct NewClient {
    /// The client's name.
    pub(crate) name: String,
    /// The name or address by which the client reaches this server.
    host: Host,
    keys: Keys,
}

/// The key pair of a new client.
#[derive(Debug)]
enum Keys {
    /// The client made it, and gave away the public key only.
    Own(PublicKey),
    /// It goes to the client in the invitation.
    Made(KeyPair),
}

impl NewClient {
    /// A client called `name`, which reaches this server as `host`, with `public_key` (default: a new
    /// key pair).
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel provides no random numbers.
    pub(crate) fn new(name: &str, host: Host, public_key: Option<PublicKey>) -> Result<Self> {
        let keys = match public_key {
            Some(key) => Keys::Own(key),
            None => {
                let key = key_file::generate();
                Keys::Made(key.context("the kernel provides no random numbers")?.into())
            }
        };
        Ok(Self {
            name: name.to_owned(),
            host,
            keys,
        })
    }

    /// The client's public key.
    pub(crate) fn public_key(&self) -> PublicKey {
        match &self.keys {
            Keys::Own(key) => *key,
            Keys::Made(pair) => pair.public(),
        }
    }

    /// The client's invitation to the server with this configuration.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration has no server key.
    pub(crate) fn into_invitation(self, config: &Config) -> Result<Invitation> {
        let server = config.server.as_ref();
        let server = server.context("the configuration has no `server_key_file`")?;
        Ok(Invitation {
            client: self.name,
            host: self.host,
            window: config.window,
            server: server.public(),
            udp: config.datagram_port,
            key: match self.keys {
                Keys::Own(_) => None,
                Keys::Made(pair) => Some(pair.into_private()),
            },
        })
    }

    /// The same as the command that sets up the client, with `qr` also as a QR code.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration has no server key, or if the invitation is too long for a
    /// QR code.
    pub(crate) fn invitation(self, config: &Config, qr: bool) -> Result<Shown> {
        let invitation = self.into_invitation(config)?;
        let uri = invitation.to_uri();
        // A shell would take `&` for its own. A name is percent-encoded, so it contains no quote.
        let mut text = Zeroizing::new(format!("knock import '{}'", *uri));
        if qr {
            let code = QrCode::new(uri.as_bytes())?;
            let code = Zeroizing::new(code.render::<Dense1x2>().build());
            text = Zeroizing::new(format!("{}\n{}", *text, *code));
        }
        Ok(Shown {
            text,
            is_secret: invitation.key.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(public_key: Option<&str>) -> InvitationArgs {
        InvitationArgs {
            address: AddressArgs {
                server: Some("server.example.net".into()),
                qr: false,
            },
            public_key: public_key.map(str::to_owned),
        }
    }

    #[test]
    fn a_new_clients_name_is_a_plain_file_name() {
        for name in ["", "../x", "a b", ".hidden", "a/b", "é"] {
            assert!(args(None).client(name).is_err(), "{name:?}");
        }
        assert_eq!(args(None).client("laptop").unwrap().name, "laptop");
    }

    #[test]
    fn a_misplaced_private_key_is_not_shown() {
        for secret in ["knock2:sesame", &"?sesame".repeat(7)[..43]] {
            let error = format!("{:#}", args(Some(secret)).client("laptop").unwrap_err());
            assert!(error.starts_with("--public-key: "), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
    }
}
