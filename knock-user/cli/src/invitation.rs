//! A new client: its key file, and the command that sets up the client.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use knock_common::{protocol::key::SecretKey, window::Window};
use knockd_credentials::{invitation::Invitation, key_file};
use qrcode::{QrCode, render::unicode::Dense1x2};
use zeroize::Zeroizing;

use crate::new_file::NewFile;

/// The printed command contains the client's key: give it to nobody else.
#[derive(Args, Debug)]
pub(crate) struct InvitationArgs {
    /// The name or address by which the client reaches this server [default: the host name]
    #[arg(long, value_name = "HOST")]
    pub(crate) server: Option<String>,
    /// Also print the knock:// address as a QR code
    #[arg(long)]
    pub(crate) qr: bool,
}

/// Prints the command that sets up the client with the invitation `uri`, and with `qr` also the
/// QR code.
///
/// # Errors
///
/// Returns an error if `uri` is too long for a QR code.
pub(crate) fn print(uri: &str, qr: bool) -> Result<()> {
    println!("knock import {uri}");
    if qr {
        let code = QrCode::new(uri)?;
        println!("{}", code.render::<Dense1x2>().build());
    }
    Ok(())
}

/// A client to set up.
#[derive(Clone, Debug)]
pub(crate) struct NewClient {
    /// The client's name, also the name of its key file.
    pub(crate) name: String,
    /// The name or address by which the client reaches this server.
    host: String,
}

impl NewClient {
    /// A client called `name`, which reaches this server as `host` (default: the host name).
    ///
    /// # Errors
    ///
    /// Returns an error if `name` is not a valid file name, or the host name is not UTF-8.
    pub(crate) fn new(name: &str, host: Option<String>) -> Result<Self> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty()
            || name.len() > 64
            || name.starts_with('.')
            || !name.chars().all(is_plain)
        {
            bail!("{name:?} is not a valid client name: use letters, digits, `-`, `_` and `.`");
        }
        let host = match host {
            Some(host) => host,
            None => rustix::system::uname()
                .nodename()
                .to_str()
                .context("this host's name is not UTF-8: give --server HOST")?
                .to_owned(),
        };
        Ok(Self {
            name: name.to_owned(),
            host,
        })
    }

    /// The path of the key file, beside the configuration at `config`.
    pub(crate) fn key_path(&self, config: &Path) -> PathBuf {
        config.with_file_name(format!("{}.key", self.name))
    }

    /// The URI of the client's invitation.
    pub(crate) fn invitation(self, key: SecretKey, window: Window) -> Zeroizing<String> {
        let invitation = Invitation {
            client: self.name,
            host: self.host,
            window,
            key,
        };
        invitation.to_uri()
    }
}

/// Generates a key and writes it to the new file at `path`.
///
/// # Errors
///
/// Returns an error if `path` exists already or cannot be written.
pub(crate) fn new_key(path: &Path) -> Result<(SecretKey, NewFile)> {
    let key = key_file::generate().context("the kernel provides no random numbers")?;
    key_file::create(path, &key).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => anyhow!(
            "{} exists already and is not overwritten: remove it, or choose another name",
            path.display()
        ),
        _ => anyhow!(error).context(path.display().to_string()),
    })?;
    Ok((key, NewFile::at(path.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_name_is_a_plain_file_name() {
        for name in ["", "../x", "a b", ".hidden", "a/b", "é"] {
            assert!(NewClient::new(name, None).is_err(), "{name:?}");
        }
    }
}
