//! The origin of the configuration.

use std::path::PathBuf;

use anyhow::Result;
use knockd_config::Config;
use knockd_types::interface::Wanted;

/// The configuration file, and the values that the command line overrides.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file.
    pub path: PathBuf,
    /// The interfaces of `--iface`.
    pub interfaces: Option<Wanted>,
}

impl Origin {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or is invalid.
    pub(crate) fn read(&self) -> Result<Config> {
        let mut config = Config::load(&self.path)?;
        if let Some(interfaces) = &self.interfaces {
            config.interfaces = interfaces.clone();
        }
        Ok(config)
    }
}
