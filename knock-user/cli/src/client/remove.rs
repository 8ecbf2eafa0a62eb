//! `knockd client remove`: removes a client from the configuration.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::{change::Change, document::Document, record};
use crate::{args::ConfigArg, output, reload::AfterChange};

#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// The client's name
    name: String,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    after: AfterChange,
}

impl Remove {
    /// Removes the client.
    ///
    /// # Errors
    ///
    /// Returns an error if the client cannot be removed, or the running daemon refuses the change.
    pub(super) fn execute(self) -> Result<()> {
        let removed = remove(&self.config.path, &self.name)?;
        // The change is made: a full standard output must not keep it from the running daemon.
        let shown = output::print(&removed);
        self.after.reload(&self.config)?;
        shown
    }
}

/// Removes the client called `name` from the configuration at `config`. Returns what was done.
///
/// # Errors
///
/// Returns an error if there is no such client, or if the configuration would be invalid without it.
/// Nothing is changed in this case.
fn remove(config: &Path, name: &str) -> Result<String> {
    let mut change = Change::begin(config)?;
    let before = change.before()?;
    let client = record::find(&before, config, name)?;
    if before.clients.len() == 1 {
        bail!(
            "{name:?} is the only client, and a configuration needs one: add another one first, or lock this one out with `knockd client expire`"
        );
    }
    let unchanged = || format!("client {name:?} is not removed");
    for file in &before.files {
        // Most files have no such door. They are not locked.
        let names = Document::read(file)?.remove_from_doors(name);
        if names.with_context(unchanged)? {
            change.edit(file)?.remove_from_doors(name)?;
        }
    }
    // Last: a door must not name a client that does not exist.
    change
        .edit(&before.files[client.file])?
        .remove_client(name)?;
    change.prepare().with_context(unchanged)?.complete()?;
    let key = record::public_key(client);
    let key = key.map_or_else(String::new, |key| format!(", whose public key was {key}"));
    Ok(format!("removed client {name:?}{key}"))
}

#[cfg(test)]
mod tests;
