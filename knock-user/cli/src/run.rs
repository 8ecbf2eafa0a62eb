//! `knockd` without a command: runs the daemon.

use std::{path::PathBuf, process};

use anyhow::{Result, bail};
use clap::Args;
use knockd_runtime::{clock::unix_ms, log, open_files};
use knockd_supervisor::origin::Origin;
use knockd_types::interface::Wanted;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tracing::{info, warn};

use crate::{
    args::ConfigArg,
    check::{clients, session},
    features, first_process, runtime,
};

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// Listen on this interface, or on `any`; overrides the configuration; may be repeated
    #[arg(long = "iface", value_name = "IF", conflicts_with = "lines", value_parser = knockd_config::interface)]
    interfaces: Vec<String>,

    /// Read knocks from lines `destination_port source_ip` instead; `-` is standard input
    #[arg(long, value_name = "FILE")]
    lines: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigArg,

    /// Show what would happen: drop nothing, run no command, keep no state
    #[arg(long)]
    dry_run: bool,

    /// Remove the gate of another knockd, which no longer exists, from the same `gate.pin_dir`
    #[arg(long, conflicts_with_all = ["lines", "dry_run"])]
    take_over: bool,
}

impl Run {
    /// Runs the daemon until a signal stops it.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration is invalid or the daemon cannot start, or if it fails
    /// later.
    pub(crate) fn execute(self) -> Result<()> {
        if first_process::is_first() {
            process::exit(first_process::run_child()?);
        }
        log::never_block();
        open_files::raise_limit();
        keep_secrets_out_of_dumps();
        let mut config = self.config.load()?;
        let interfaces = (!self.interfaces.is_empty()).then(|| Wanted::by_name(self.interfaces));
        if let Some(interfaces) = &interfaces {
            config.interfaces.clone_from(interfaces);
        }
        let origin = Origin {
            path: self.config.path.clone(),
            interfaces,
        };
        if config.fleet.is_some() && !features::HAS_FLEET {
            bail!("{}", features::NO_FLEET);
        }
        if config.interfaces.is_empty() && self.lines.is_none() {
            bail!(
                "no interface to listen on: give --iface IF, or set `interfaces` in {}",
                self.config.path.display()
            );
        }
        if let Some(warning) = session::warning(&config) {
            warn!("{warning}");
        }
        for warning in clients::warnings(&config, unix_ms()) {
            warn!("{warning}");
        }
        let result = runtime::new()?.block_on(async {
            if self.dry_run {
                knockd_supervisor::dry_run(config, origin, self.lines).await
            } else {
                knockd_supervisor::serve(config, origin, self.lines, self.take_over).await
            }
        });
        info!("stopped");
        result
    }
}

/// Disables core dumps and ptrace by unprivileged processes (`PR_SET_DUMPABLE` in prctl(2)): this
/// process holds the keys.
fn keep_secrets_out_of_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!("core dumps cannot be disabled: {error}");
    }
}
