//! `knockd client add`: adds a client to the configuration.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, fchown},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use knockd_config::Config;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};
use tracing::info;
use zeroize::Zeroizing;

use crate::{
    args::ConfigArg,
    invitation::{self, InvitationArgs, NewClient, new_key},
    new_file::{self, NewFile},
};

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Create a key for another client and print the command that sets up the client
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
            invitation: InvitationArgs { server, qr },
        } = self;
        let client = NewClient::new(&name, server)?;
        let uri = add(&config.path, client)?;
        info!("run `knockd reload` to add client {name:?} to a running knockd");
        invitation::print(&uri, qr)
    }
}

/// Adds a sealed client to the configuration at `config`, keeps its comments, and writes the
/// client's key beside it. Returns the client's invitation.
///
/// # Errors
///
/// Returns an error if the configuration is invalid, has a client of this name, or cannot be
/// written. Nothing is changed in this case.
fn add(config: &Path, client: NewClient) -> Result<Zeroizing<String>> {
    let text = knockd_config::read(config)?;
    // Existing problems are reported before anything is added. A configuration without clients,
    // the output of `knockd import-knockd`, becomes valid with the first client.
    if !is_without_client(&text) {
        let before = Config::parse(&text, config)?;
        if before.clients.iter().any(|other| other.name == client.name) {
            bail!(
                "{} has a client {:?} already",
                config.display(),
                client.name
            );
        }
    }
    let key_path = client.key_path(config);
    let text = with_client(&text, &client.name, &key_path)?;
    let (key, new_key_file) = new_key(&key_path)?;
    let after = Config::parse(&text, config)?;
    replace(config, &text)?;
    new_key_file.keep();
    Ok(client.invitation(key, after.window))
}

/// Whether `text` is TOML and names no client.
fn is_without_client(text: &str) -> bool {
    let document = text.parse::<DocumentMut>();
    document.is_ok_and(|document| !document.contains_key("client"))
}

/// `text` with another `[[client]]` after the existing ones.
fn with_client(text: &str, name: &str, key_path: &Path) -> Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let key_file = key_path.file_name().unwrap_or(key_path.as_os_str());
    let mut client = Table::new();
    client.decor_mut().set_prefix("\n");
    client.insert("name", value(name));
    client.insert("key_file", value(key_file.to_string_lossy().as_ref()));
    document
        .entry("client")
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()))
        .as_array_of_tables_mut()
        .context("`client` is written as an inline array: write [[client]] tables")?
        .push(client);
    Ok(document.to_string())
}

/// Atomically replaces the content of the file at `path` with `text`. Keeps owner, mode and, if
/// `path` is one, the symbolic link.
fn replace(path: &Path, text: &str) -> Result<()> {
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
    fs::rename(new.path(), &path)?;
    new.keep();
    if let Some(folder) = path.parent() {
        // The configuration names the key already: an error here must not remove the key file.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
