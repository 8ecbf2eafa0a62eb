//! `knockd client add`: adds a client to the configuration.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Error, Result, bail};
use clap::Subcommand;
use knockd_config::{Config, NO_CLIENT};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};
use tracing::info;

use crate::{
    args::ConfigArg,
    invitation::{InvitationArgs, NewClient},
    new_file::{self, NewFile},
    server_key::{self, SERVER_KEY_FILE},
};

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Add another client and print the command that sets it up
    ///
    /// With --public-key the client has made its own key pair, and the command is no secret. Without
    /// it, this command makes the pair, and the printed line contains the private key.
    Add {
        /// The client's name
        name: String,
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        invitation: InvitationArgs,
    },
}

impl ClientCommand {
    /// Adds the client and prints its invitation.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is invalid or the client cannot be added.
    pub(crate) fn execute(self) -> Result<()> {
        let Self::Add {
            name,
            config,
            invitation,
        } = self;
        let client = invitation.client(&name)?;
        let show =
            |client: NewClient, config: &Config| client.invitation(config, invitation.qr)?.print();
        add(&config.path, client, show)?;
        info!("run `knockd reload` to add client {name:?} to a running knockd");
        Ok(())
    }
}

/// Adds a client to the configuration at `config`, and keeps its comments. If it has no server key,
/// adds one beside it. Calls `show` to show the client's invitation.
///
/// # Errors
///
/// Returns an error if the configuration is invalid, has a client of this name, or cannot be
/// written, or if the invitation cannot be shown. Nothing is changed in this case.
fn add<T>(
    config: &Path,
    client: NewClient,
    show: impl FnOnce(NewClient, &Config) -> Result<T>,
) -> Result<T> {
    let text = knockd_config::read(config)?;
    // Existing problems are reported before anything is added, with their places in the file.
    match Config::parse(&text, config) {
        Ok(before) if before.clients.iter().any(|other| other.name == client.name) => bail!(
            "{} has a client {:?} already",
            config.display(),
            client.name
        ),
        Ok(_) => {}
        Err(error) => expect_only_no_client(&error)?,
    }
    let mut document: DocumentMut = text.parse()?;
    let needs_key = !document.contains_key("server_key_file");
    let new_key_file = if needs_key {
        document.insert("server_key_file", value(SERVER_KEY_FILE));
        server_key::provide(&config.with_file_name(SERVER_KEY_FILE))?
    } else {
        None
    };
    add_table(&mut document, &client)?;
    let text = document.to_string();
    let after = Config::parse(&text, config)?;
    let replacement = Replacement::prepare(config, &text)?;
    let shown = show(client, &after)?;
    replacement
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

/// Adds a `[[client]]` after the existing ones.
fn add_table(document: &mut DocumentMut, client: &NewClient) -> Result<()> {
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    table.insert("name", value(&client.name));
    table.insert("public_key", value(client.public_key().to_string()));
    document
        .entry("client")
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()))
        .as_array_of_tables_mut()
        .context("`client` is written as an inline array: write [[client]] tables")?
        .push(table);
    Ok(())
}

/// The new content of a file, beside it.
struct Replacement {
    path: PathBuf,
    new: NewFile,
}

impl Replacement {
    /// Writes the new content of the file at `path`, with the same owner and mode.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be written, or if another change is in progress.
    fn prepare(path: &Path, text: &str) -> Result<Self> {
        // A symbolic link stays one.
        let path = fs::canonicalize(path)?;
        let old = fs::metadata(&path)?;
        let new = path.with_extension("toml.new");
        // This file also serves as a lock against a concurrent change.
        let file = new_file::create(&new, old.mode() & 0o7777).context(
            "another change of the configuration is in progress; if none is, remove this file",
        )?;
        let new = NewFile::at(new);
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
        new_file::write_synced(file, text)?;
        Ok(Self { path, new })
    }

    /// Atomically replaces the content of the file.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be replaced.
    fn complete(self) -> Result<()> {
        fs::rename(self.new.path(), &self.path)?;
        self.new.keep();
        if let Some(folder) = self.path.parent() {
            // The configuration names the key already: an error here must not remove the key file.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
