//! `knockd client show`: everything about one client.

use anyhow::Result;
use clap::Args;
use knockd_config::Config;
use knockd_runtime::log::legible;
use serde::Serialize;

use super::record::{self, Record};
use crate::{
    args::ConfigArg,
    invitation::{AddressArgs, NewClient, Shown},
    output, patience,
};

#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The client's name
    name: String,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    address: AddressArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The JSON of a client.
#[derive(Serialize)]
struct Full<'a> {
    #[serde(flatten)]
    client: &'a Record,
    /// The command that sets the client up. None for a classic client.
    invitation: Option<&'a str>,
}

impl Show {
    /// Shows the client as text or as one line of JSON.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration cannot be read or is invalid, if it has no such client, if
    /// `--server` is invalid, or if standard output cannot be written.
    pub(super) fn execute(self) -> Result<()> {
        let path = &self.config.path;
        let config = patience::load(path)?;
        let client = Record::of(&config, path, &self.name)?;
        let invitation = self.invitation(&config)?;
        let invitation = invitation.as_ref().map(Shown::text);
        if self.json {
            let client = &client;
            return output::print(&serde_json::to_string(&Full { client, invitation })?);
        }
        output::print_exactly(&legible(&text(&client, invitation)))
    }

    fn invitation(&self, config: &Config) -> Result<Option<Shown>> {
        let client = record::find(config, &self.config.path, &self.name)?;
        let Some(key) = record::public_key(client) else {
            return Ok(None);
        };
        let known = NewClient::new(&self.name, self.address.host()?, Some(key))?;
        known.invitation(config, self.address.qr).map(Some)
    }
}

fn text(client: &Record, invitation: Option<&str>) -> String {
    let fields = [
        ("name", client.name.clone()),
        ("kind", client.kind.to_owned()),
        ("public key", record::or_dash(client.public_key.as_deref())),
        (
            "fingerprint",
            record::or_dash(client.fingerprint.as_deref()),
        ),
        ("doors", record::listed(&client.doors)),
        ("from", client.networks()),
        ("expires", client.end()),
        ("previous key", client.previous()),
        ("last accepted", client.last()),
        ("file", client.file.clone()),
    ];
    let lines = fields.map(|(name, value)| format!("{name:13}  {value}\n"));
    let invitation = invitation.map_or_else(String::new, |command| {
        format!("\nWith the private key on the client, this command sets it up:\n{command}\n")
    });
    lines.concat() + &invitation
}
