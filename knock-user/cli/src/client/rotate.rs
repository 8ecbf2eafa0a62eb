//! `knockd client rotate`: gives a client another key.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Error, Result, bail};
use clap::Args;
use humantime::parse_duration;
use knockd_config::Config;

use super::{
    change::Change,
    document::{self, PREVIOUS_KEY, PREVIOUS_UNTIL, PUBLIC_KEY},
    record, when,
};
use crate::{
    args::ConfigArg,
    invitation::{InvitationArgs, NewClient},
    reload::AfterChange,
};

#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// The client's name
    name: String,
    /// How long the old key stays valid, such as 7d. With 0s it ends at once, and what was opened with
    /// it is closed
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_duration)]
    keep: Duration,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    invitation: InvitationArgs,
    #[command(flatten)]
    after: AfterChange,
}

impl Rotate {
    /// Replaces the client's key and prints its invitation.
    ///
    /// # Errors
    ///
    /// Returns an error if the key cannot be replaced, or the running daemon refuses the change.
    pub(super) fn execute(self) -> Result<()> {
        let client = self.invitation.known_client(&self.name)?;
        let qr = self.invitation.address.qr;
        let show = |client: NewClient, config: &Config| client.invitation(config, qr)?.print();
        rotate(&self.config.path, client, self.keep, show)?;
        self.after.reload(&self.config)
    }
}

/// Gives a client of the configuration at `config` the key of `client`, and keeps the old one for
/// the time `keep`. Calls `show` to show the client's invitation.
///
/// # Errors
///
/// Returns an error if there is no such client, if it is classic or has this key already, if the
/// configuration would be invalid, or if the invitation cannot be shown. Nothing is changed in this
/// case.
fn rotate<T>(
    config: &Path,
    client: NewClient,
    keep: Duration,
    show: impl FnOnce(NewClient, &Config) -> Result<T>,
) -> Result<T> {
    let mut change = Change::begin(config)?;
    let before = change.before()?;
    let name = client.name.clone();
    let known = record::find(&before, config, &name)?;
    let Some(old) = record::public_key(known) else {
        bail!(
            "client {name:?} is classic: write another passphrase to its `passphrase_file`, and run `knockd reload`"
        );
    };
    let new = client.public_key();
    if new == old {
        bail!("client {name:?} has this key already");
    }
    let table = change.edit(&before.files[known.file])?.client(&name)?;
    document::set(table, PUBLIC_KEY, new.to_string());
    if keep.is_zero() {
        table.remove(PREVIOUS_KEY);
        table.remove(PREVIOUS_UNTIL);
    } else {
        let until = when::after(keep).map_err(Error::msg).context("--keep")?;
        document::set(table, PREVIOUS_KEY, old.to_string());
        document::set(table, PREVIOUS_UNTIL, until);
    }
    let unchanged = || format!("the key of client {name:?} is not replaced");
    let prepared = change.prepare().with_context(unchanged)?;
    let shown = show(client, &prepared.after)?;
    prepared
        .complete()
        .context("the key is not replaced, and the invitation that was shown is of no use")?;
    Ok(shown)
}

#[cfg(test)]
mod tests;
