//! `knockd detach`: removes the gate of a daemon that is not running.

use std::io;

use anyhow::{Result, bail};
use clap::Args;
use knockd_config::{Config, DEFAULT_PIN_DIR};
use knockd_xdp::pins::{Owner, PinDir};
use tracing::warn;

use crate::{args::ConfigArg, control, runtime};

#[derive(Args, Debug)]
pub(crate) struct Detach {
    #[command(flatten)]
    config: ConfigArg,

    /// Also remove the gate of another knockd that was pinned in the same directory
    #[arg(long)]
    take_over: bool,
}

impl Detach {
    /// Removes the gate and closes the doors. This has to work with an invalid configuration: then it
    /// removes only the pins in the default directory.
    ///
    /// # Errors
    ///
    /// Returns an error if the daemon runs, if its state cannot be opened, or if the gate is that of
    /// another knockd.
    pub(crate) fn execute(self) -> Result<()> {
        let path = &self.config.path;
        let out = &mut io::stdout();
        match Config::load(path) {
            Ok(config) => {
                let detached = knockd_supervisor::detach(config, path, self.take_over, out);
                runtime::new()?.block_on(detached)
            }
            Err(error) => {
                if control::is_running(&self.config.control_socket()) {
                    bail!("knockd is running: stop it first");
                }
                warn!("{error:#}");
                warn!(
                    "without a valid configuration, `close` is not run and only {DEFAULT_PIN_DIR} is cleared"
                );
                let owner = Owner::here(path, None)?;
                PinDir::claim(DEFAULT_PIN_DIR.as_ref(), &owner, self.take_over)?.detach(out)
            }
        }
    }
}
