//! `knockd init`: writes a first configuration with one client.

mod default_route;

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use knockd_config::{Config, DEFAULT_STATE_DIR};
use knockd_xdp::interfaces;
use tracing::{info, warn};

use self::default_route::choose;
use crate::{
    args::ConfigArg,
    invitation::{InvitationArgs, NewClient},
    new_file,
    server_key::{self, SERVER_KEY_FILE},
};

/// The configuration that `init` writes, with the placeholders `{interfaces}`, `{state_dir}`,
/// `{client}` and `{public_key}`.
const TEMPLATE: &str = include_str!("init/knockd.toml");

#[derive(Args, Debug)]
pub(crate) struct Init {
    #[command(flatten)]
    config: ConfigArg,
    /// The directory of the replay store and the lease journal
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
    /// The client's name
    #[arg(long, value_name = "NAME", default_value = "laptop")]
    client: String,
    #[command(flatten)]
    invitation: InvitationArgs,
}

impl Init {
    /// Writes the configuration and prints the client's invitation.
    ///
    /// # Errors
    ///
    /// Returns an error if the client's name is invalid, or a file exists already or cannot be
    /// written.
    pub(crate) fn execute(self) -> Result<()> {
        let client = self.invitation.client(&self.client)?;
        let show = |client: NewClient, config: &Config| {
            client
                .invitation(config, self.invitation.address.qr)?
                .print()
        };
        init(&self.config.path, &self.state_dir, client, show)
    }
}

/// Writes a commented configuration with one client and one door to `config`, writes the server's
/// key beside it, and creates `state_dir`. Calls `show` to show the client's invitation.
///
/// # Errors
///
/// Returns an error if the configuration exists already, a file cannot be written, or the invitation
/// cannot be shown. Existing files are never overwritten: a server key that exists is used. New files
/// are removed after an error.
fn init<T>(
    config: &Path,
    state_dir: &Path,
    client: NewClient,
    show: impl FnOnce(NewClient, &Config) -> Result<T>,
) -> Result<T> {
    new_file::prepare_directory(config)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .with_context(|| state_dir.display().to_string())?;
    let text = TEMPLATE
        .replace("{interfaces}", &interfaces())
        .replace(
            "{state_dir}",
            &toml_string(&state_dir.display().to_string()),
        )
        .replace("{client}", &client.name)
        .replace("{public_key}", &client.public_key().to_string());
    let new_key_file = server_key::provide(&config.with_file_name(SERVER_KEY_FILE))?;
    let new_config = new_file::write_configuration(config, &text)?;
    let loaded = Config::load(config)?;
    let shown = show(client, &loaded)?;
    new_config.keep();
    if let Some(file) = new_key_file {
        file.keep();
    }
    Ok(shown)
}

/// The line for `interfaces`: those of the default routes, or a commented example. Logs why.
fn interfaces() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let present = interfaces::list().unwrap_or_else(|error| {
        warn!("{error:#}");
        Vec::new()
    });
    let choices = choose(
        &read("/proc/net/route"),
        &read("/proc/net/ipv6_route"),
        &present,
    );
    if choices.is_empty() {
        warn!("no interface has a default route: set `interfaces` in the configuration");
        return "# interfaces = [\"eth0\"]".into();
    }
    let mut names = Vec::new();
    for choice in choices {
        info!("interfaces: {choice}");
        names.push(toml_string(&choice.interface));
    }
    format!("interfaces = [{}]", names.join(", "))
}

fn toml_string(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

#[cfg(test)]
pub(crate) mod tests;
