//! The configuration of knockd. The file is read once and validated as a whole, so that a
//! [`Config`] has no invalid state.
//!
//! [`model`] contains the validated values. Of the private modules, `file` describes the format
//! of the file, `value` validates single values, `check` validates values together, `keys` derives
//! the clients' keys, `strict` refuses files that others could replace, and `place`
//! adds line and key to each error.

mod check;
mod file;
mod keys;
pub mod metrics;
pub mod model;
mod place;
mod socket;
mod strict;
pub mod template;
mod value;

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

pub use self::model::{
    Client, Config, DEFAULT_PATH, DEFAULT_PIN_DIR, DEFAULT_SOCKET, DEFAULT_STATE_DIR, Door, Gate,
    Limits, MAX_SOCKET_PATH, NO_CLIENT, OnStop,
};
use self::{
    check::Checker,
    place::{Problem, Problems},
};

/// The largest file that is read, in bytes: room for a million clients. A larger one is probably
/// the wrong file.
const MAX_FILE_LEN: u64 = 128 * 1024 * 1024;

impl Config {
    /// Reads and validates the configuration at `path` and every secret file that it names.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or is invalid. The error lists every problem,
    /// one per line, with file, line and key.
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(&read(path)?, path)
    }

    /// Validates `text` as the configuration at `path`, and every secret file that it names.
    ///
    /// # Errors
    ///
    /// See [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let parsed = toml::from_str(text)
            .map_err(|error| Problems::new(path, text, vec![Problem::from(error)]))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let config = Checker::new(folder)
            .check(parsed)
            .map_err(|problems| Problems::new(path, text, problems))?;
        Ok(config)
    }
}

/// The `control_socket` in the configuration at `path`, if the file can be read and has this key.
/// For callers without permission to read the secrets, who only need to reach the daemon.
#[must_use]
pub fn control_socket(path: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(path).ok()?;
    let table: toml::Table = text.parse().ok()?;
    Some(table.get("control_socket")?.as_str()?.into())
}

/// The `state_dir` of the configuration at `path`. For callers without permission to read the secrets,
/// who only need to read what the daemon has stored.
///
/// # Errors
///
/// Returns an error if the file cannot be read or is not TOML.
pub fn state_dir(path: &Path) -> Result<PathBuf> {
    let describe = || format!("{}: the configuration cannot be read", path.display());
    let text = std::fs::read_to_string(path).with_context(describe)?;
    let table: toml::Table = text.parse().with_context(describe)?;
    let state_dir = table.get("state_dir").and_then(toml::Value::as_str);
    Ok(state_dir.unwrap_or(DEFAULT_STATE_DIR).into())
}

/// Whether `name` is a valid name for a client or a door.
#[must_use]
pub fn is_name(name: &str) -> bool {
    value::Name::try_from(name.to_owned()).is_ok()
}

/// Whether `name` is a valid interface name. The interface need not exist.
#[must_use]
pub fn is_interface(name: &str) -> bool {
    interface(name).is_ok()
}

/// `name`, if an interface can have it. The interface need not exist.
///
/// # Errors
///
/// Returns an error if none can.
pub fn interface(name: &str) -> Result<String, &'static str> {
    value::InterfaceName::try_from(name.to_owned()).map(Into::into)
}

/// The text of the configuration at `path`.
///
/// # Errors
///
/// Returns an error if the file cannot be read, is not UTF-8, or can be changed by other users.
pub fn read(path: &Path) -> Result<String> {
    read_trusted(path).with_context(|| format!("{}", path.display()))
}

fn read_trusted(path: &Path) -> Result<String> {
    let file = File::open(path).context("the configuration cannot be read")?;
    strict::check(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        bail!("it is larger than {MAX_FILE_LEN} bytes: is it the right file?");
    }
    String::from_utf8(bytes).context("it is not UTF-8")
}

#[cfg(test)]
mod tests;
