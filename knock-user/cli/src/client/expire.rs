//! `knockd client expire`: sets the end of a client.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Args;

use super::{
    change::Change,
    document::{self, EXPIRES},
    record,
    when::When,
};
use crate::{args::ConfigArg, output, reload::AfterChange};

#[derive(Args, Debug)]
pub(crate) struct Expire {
    /// The client's name
    name: String,
    /// `now`, `never`, a duration from now such as 30d, or a date such as 2027-01-01 (midnight UTC) or
    /// 2027-01-01T12:00:00+01:00
    when: When,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    after: AfterChange,
}

impl Expire {
    /// Sets when the client expires.
    ///
    /// # Errors
    ///
    /// Returns an error if the client cannot be changed, or the running daemon refuses the change.
    pub(super) fn execute(self) -> Result<()> {
        expire(&self.config.path, &self.name, self.when)?;
        let name = &self.name;
        // The change is made: a full standard output must not keep it from the running daemon.
        let shown = output::print(&match self.when {
            When::Never => format!("client {name:?} does not expire"),
            When::At(at) => format!("client {name:?} expires at {at}"),
        });
        self.after.reload(&self.config)?;
        shown
    }
}

/// Sets when the client called `name` expires in the configuration at `config`.
///
/// # Errors
///
/// Returns an error if there is no such client, or if the configuration would be invalid. Nothing is
/// changed in this case.
fn expire(config: &Path, name: &str, when: When) -> Result<()> {
    let mut change = Change::begin(config)?;
    let before = change.before()?;
    let client = record::find(&before, config, name)?;
    let table = change.edit(&before.files[client.file])?.client(name)?;
    match when {
        When::Never => drop(table.remove(EXPIRES)),
        When::At(at) => document::set(table, EXPIRES, at),
    }
    let unchanged = || format!("client {name:?} is not changed");
    change.prepare().with_context(unchanged)?.complete()
}

#[cfg(test)]
mod tests;
