//! `knockd reload`: makes the daemon reload its configuration. Commands that change the configuration
//! do the same afterwards.

use std::{
    io::{Error, ErrorKind},
    path::Path,
};

use anyhow::{Context as _, Result};
use clap::Args;
use knockd_runtime::log::legible;
use tracing::{info, warn};

use crate::{
    args::{ConfigArg, DaemonArgs},
    control, patience,
};

/// Makes the running daemon reload its configuration.
///
/// # Errors
///
/// Returns an error if no daemon replies, or if it refuses the configuration, which changes
/// nothing.
pub(crate) fn reload(daemon: &DaemonArgs) -> Result<()> {
    request(&daemon.socket()).map(drop)
}

/// Asks the daemon at `socket` to reload. Returns what [`control::command`] does.
fn request(socket: &Path) -> Result<Vec<String>> {
    patience::told(
        "the running knockd is still loading the configuration",
        || control::command(socket, "reload"),
    )
}

/// What happens after a change of the configuration.
#[derive(Args, Debug)]
pub(crate) struct AfterChange {
    /// Leave the running daemon as it is until `knockd reload`
    #[arg(long)]
    no_reload: bool,
}

impl AfterChange {
    /// Makes the running daemon reload `config`, which was changed. None needs to run.
    ///
    /// # Errors
    ///
    /// Returns an error if a daemon runs and does not load the configuration.
    pub(crate) fn reload(&self, config: &ConfigArg) -> Result<()> {
        if self.no_reload {
            return Ok(());
        }
        let socket = config.control_socket();
        match request(&socket) {
            Ok(_) => {
                info!("the running knockd has loaded the change");
                Ok(())
            }
            Err(error) if is_down(&error) => {
                // A daemon that was started with another `control_socket` cannot be told.
                warn!(
                    "no knockd answers at {}: the change is in force from its next start, so restart one that runs",
                    legible(&socket.display().to_string())
                );
                Ok(())
            }
            Err(error) => Err(error).context(
                "the configuration is changed, but the running knockd has not loaded it: what was in force before still is, until `knockd reload` succeeds",
            ),
        }
    }
}

/// Whether `error` says that no daemon listens at the control socket.
fn is_down(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref().map(Error::kind);
    matches!(
        kind,
        Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused)
    )
}
