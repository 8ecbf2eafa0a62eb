//! The server's key file, and `knockd public-key`.

use std::{io, path::Path};

use anyhow::{Context as _, Result, anyhow};
use knock_common::protocol::identity::Owner;
use knockd_config::Config;
use knockd_credentials::key_file;

use crate::{args::ConfigArg, new_file::NewFile, output};

/// The name of the server's key file in a new configuration.
pub(crate) const SERVER_KEY_FILE: &str = "server.key";

/// Makes sure that there is a server key at `path`. Returns the file if it is new.
///
/// # Errors
///
/// Returns an error if an existing file is no server key, or the file cannot be written.
pub(crate) fn provide(path: &Path) -> Result<Option<NewFile>> {
    let shown = || path.display().to_string();
    let key = key_file::generate().context("the kernel provides no random numbers")?;
    match key_file::create(Owner::Server, path, &key) {
        Ok(()) => Ok(Some(NewFile::at(path.to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            key_file::read(Owner::Server, path).with_context(shown)?;
            Ok(None)
        }
        Err(error) => Err(anyhow!(error).context(shown())),
    }
}

/// Prints the server's public key.
///
/// # Errors
///
/// Returns an error if the configuration cannot be read, is invalid, or has no server key.
pub(crate) fn print_public_key(config: &ConfigArg) -> Result<()> {
    let server = Config::load(&config.path)?.server;
    let server = server.context("the configuration has no `server_key_file`")?;
    output::print(&server.public().to_string())
}
