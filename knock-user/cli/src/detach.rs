//! `knockd detach`: removes the gate of a daemon that is not running.

use anyhow::{Result, bail};
use knockd_config::{Config, DEFAULT_PIN_DIR};
use knockd_xdp::pins::PinDir;
use tracing::warn;

use crate::{args::ConfigArg, control, runtime};

/// Removes the gate and closes the doors. This has to work with an invalid configuration: then it
/// removes only the pins in the default directory.
///
/// # Errors
///
/// Returns an error if the daemon runs, or its state cannot be opened.
pub(crate) fn detach(config: &ConfigArg) -> Result<()> {
    match Config::load(&config.path) {
        Ok(config) => runtime::new()?.block_on(knockd_supervisor::detach(config)),
        Err(error) => {
            if control::is_running(&config.control_socket()) {
                bail!("knockd is running: stop it first");
            }
            warn!("{error:#}");
            warn!(
                "without a valid configuration, `close` is not run and only {DEFAULT_PIN_DIR} is cleared"
            );
            PinDir::at(DEFAULT_PIN_DIR.as_ref()).detach()
        }
    }
}
