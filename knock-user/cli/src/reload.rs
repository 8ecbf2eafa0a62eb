//! `knockd reload`: makes the daemon reload its configuration.

use anyhow::Result;

use crate::{args::DaemonArgs, control};

/// Makes the running daemon reload its configuration.
///
/// # Errors
///
/// Returns an error if no daemon replies, or if it refuses the configuration, which changes
/// nothing.
pub(crate) fn reload(daemon: &DaemonArgs) -> Result<()> {
    control::command(&daemon.socket(), "reload").map(drop)
}
