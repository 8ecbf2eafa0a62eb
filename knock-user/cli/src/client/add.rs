//! `knockd client add`: adds a client to the configuration.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result, bail};
use clap::Args;
use knock_common::legible::escaped;
use knockd_config::{Config, NO_CLIENT};
use toml_edit::{Array, Table, value};

use super::{
    change::Change,
    document::{DOORS, EXPIRES, FROM, NAME, PUBLIC_KEY},
    page,
    when::When,
};
use crate::{
    args::ConfigArg,
    invitation::{InvitationArgs, NewClient},
    output,
    reload::AfterChange,
    server_key::{self, SERVER_KEY_FILE},
};

#[derive(Args, Debug)]
pub(crate) struct Add {
    /// The client's name
    name: String,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    invitation: InvitationArgs,
    /// Write a page with which a browser can knock, such as that of a phone, in the place of the printed
    /// command. The file is new, and contains the client's private key: whoever can read it can knock
    #[arg(long, value_name = "FILE", conflicts_with_all = ["public_key", "qr"])]
    page: Option<PathBuf>,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    after: AfterChange,
}

/// What a new client may do.
#[derive(Args, Debug, Default)]
pub(super) struct Terms {
    /// When the client expires: a duration from now such as 30d, or a date such as 2027-01-01 (midnight
    /// UTC) or 2027-01-01T12:00:00+01:00 [default: never]
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// Accept knocks of this client only from these networks, such as 192.0.2.0/24,2001:db8::/32
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',')]
    from: Vec<String>,
    /// The doors that the client may open, such as ssh,backup [default: those that do not exclude it]
    #[arg(long, value_name = "DOORS", value_delimiter = ',')]
    doors: Vec<String>,
}

impl Terms {
    /// Adds them to the table of a client.
    fn write(&self, client: &mut Table) {
        if let Some(When::At(at)) = self.expires {
            client.insert(EXPIRES, value(at));
        }
        for (key, values) in [(FROM, &self.from), (DOORS, &self.doors)] {
            if !values.is_empty() {
                client.insert(key, value(Array::from_iter(values)));
            }
        }
    }
}

impl Add {
    /// Adds the client and prints its invitation.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is invalid, the client cannot be added, or the running daemon
    /// refuses it.
    pub(super) fn execute(self) -> Result<()> {
        let client = self.invitation.client(&self.name)?;
        match &self.page {
            Some(path) => self.add_with_page(client, path)?,
            None => {
                let qr = self.invitation.address.qr;
                let show =
                    |client: NewClient, config: &Config| client.invitation(config, qr)?.print();
                add(&self.config.path, client, &self.terms, show)?;
            }
        }
        self.after.reload(&self.config)
    }
}

impl Add {
    /// Adds the client, whose key is in the page at `path` only.
    fn add_with_page(&self, client: NewClient, path: &Path) -> Result<()> {
        let write = |client: NewClient, config: &Config| page::write(path, client, config);
        add(&self.config.path, client, &self.terms, write)?.keep();
        let path = path.display().to_string();
        let path: String = escaped(&path).collect();
        output::print(&format!(
            "wrote {path}, which contains the key: whoever can read it can knock. Give it to nobody else, and delete it here"
        ))
    }
}

/// Adds a client to the configuration at `config`, and keeps its comments. If it has no server key,
/// adds one beside it. Calls `show` to show the client's invitation.
///
/// # Errors
///
/// Returns an error if the configuration is invalid, has a client of this name, or cannot be
/// written, or if the invitation cannot be shown. Nothing is changed in this case.
pub(super) fn add<T>(
    config: &Path,
    client: NewClient,
    terms: &Terms,
    show: impl FnOnce(NewClient, &Config) -> Result<T>,
) -> Result<T> {
    let mut change = Change::begin(config)?;
    // Existing problems are reported before anything is added, with their places in the file.
    match change.before() {
        Ok(before) if before.clients.iter().any(|other| other.name == client.name) => bail!(
            "{} has a client {:?} already",
            config.display(),
            client.name
        ),
        Ok(_) => {}
        Err(error) => expect_only_no_client(&error)?,
    }
    let document = change.edit(config)?;
    let new_key_file = if document.provide("server_key_file", SERVER_KEY_FILE) {
        server_key::provide(&config.with_file_name(SERVER_KEY_FILE))?
    } else {
        None
    };
    let mut table = Table::new();
    table.insert(NAME, value(&client.name));
    table.insert(PUBLIC_KEY, value(client.public_key().to_string()));
    terms.write(&mut table);
    document.add_client(table)?;
    let prepared = change.prepare()?;
    let shown = show(client, &prepared.after)?;
    prepared
        .complete()
        .context("the client is not added, and the invitation that was shown is of no use")?;
    if let Some(file) = new_key_file {
        file.keep();
    }
    Ok(shown)
}

/// A configuration without clients, the output of `knockd import-knockd`, becomes valid with the
/// first client.
///
/// # Errors
///
/// Returns an error with every other problem.
fn expect_only_no_client(error: &Error) -> Result<()> {
    let text = format!("{error:#}");
    let others: Vec<_> = text
        .lines()
        .filter(|line| !line.contains(NO_CLIENT))
        .collect();
    if others.is_empty() {
        Ok(())
    } else {
        bail!("{}", others.join("\n"))
    }
}

#[cfg(test)]
mod tests;
