//! Where the configuration is read from.

use std::path::PathBuf;

use anyhow::Result;
use knockd_config::Config;
use knockd_types::interface::Wanted;

/// Where the configuration came from, and what the command line put in the place of its values.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file.
    pub path: PathBuf,
    /// The interfaces of `--iface`.
    pub interfaces: Option<Wanted>,
}

/// A configuration that was read again.
pub(crate) struct Reread {
    pub(crate) config: Result<Config>,
    /// Who asked, if it was through the listener.
    pub(crate) question: Option<u32>,
}

impl Origin {
    pub(crate) fn read(&self) -> Result<Config> {
        let mut config = Config::load(&self.path)?;
        if let Some(interfaces) = &self.interfaces {
            config.interfaces = interfaces.clone();
        }
        Ok(config)
    }
}
