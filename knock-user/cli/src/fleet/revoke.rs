//! `knockd fleet revoke`: refuses the key of a client on every node.

use anyhow::Result;
use clap::Args;

use crate::{args::DaemonArgs, control, output};

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The name of the client
    name: String,
    #[command(flatten)]
    daemon: DaemonArgs,
}

impl Revoke {
    /// Makes every node refuse the client's key and close what it has open.
    ///
    /// # Errors
    ///
    /// Returns an error if no daemon replies, if it has no such client, or if the engine has not taken
    /// the request in time.
    pub(crate) fn execute(&self) -> Result<()> {
        let request = format!("fleet-revoke\t{}", self.name);
        let revoked = control::command(&self.daemon.socket(), &request)?;
        output::print(&format!(
            "the key of {} is refused on every node; remove the client from each configuration, or give it another key, within a day",
            revoked.join(", ")
        ))
    }
}
