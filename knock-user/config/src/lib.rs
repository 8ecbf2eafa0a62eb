//! The configuration of knockd. The file is read once and validated as a whole, so that a
//! [`Config`] has no invalid state.
//!
//! [`model`] contains the validated values. Of the private modules, `file` describes the format
//! of the file, `source` reads a file, `include` reads the files that it includes, `value` validates single values, `check`
//! validates values together, `keys` derives the clients' keys, `strict` refuses files that others
//! could replace, and `place` adds file, line and key to each error.

mod check;
mod file;
mod include;
mod keys;
pub mod metrics;
pub mod model;
mod place;
mod socket;
mod source;
mod strict;
pub mod template;
mod value;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

pub use self::model::{
    Client, Config, DEFAULT_PATH, DEFAULT_PIN_DIR, DEFAULT_SOCKET, DEFAULT_STATE_DIR, Door, Fleet,
    Gate, Limits, MAX_SOCKET_PATH, NEW_EXTENSION, NO_CLIENT, OnStop,
};
use self::{
    check::Checker,
    include::Reader,
    place::{Problem, Problems},
    source::{MAIN, SourceFile},
};

impl Config {
    /// Reads and validates the configuration at `path`, the files that it includes, and every secret
    /// file that they name.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or is invalid. The error lists every problem,
    /// one per line, with file, line and key.
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(&read(path)?, path)
    }

    /// Validates `text` as the configuration at `path`, the files that it includes, and every secret
    /// file that they name.
    ///
    /// # Errors
    ///
    /// See [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        Self::parse_files(text, path, &[])
    }

    /// Validates the configuration at `path` as if some of its [files](Config::files) had other texts:
    /// those in `changes`, each with its path.
    ///
    /// # Errors
    ///
    /// See [`Config::load`].
    pub fn parse_changed(path: &Path, changes: &[(&Path, &str)]) -> Result<Self> {
        match changes.iter().find(|(changed, _)| *changed == path) {
            Some((_, text)) => Self::parse_files(text, path, changes),
            None => Self::parse_files(&read(path)?, path, changes),
        }
    }

    fn parse_files(text: &str, path: &Path, changes: &[(&Path, &str)]) -> Result<Self> {
        let mut files = vec![SourceFile {
            path: path.to_owned(),
            text: text.into(),
        }];
        let mut parsed = toml::from_str(text)
            .map_err(|error| Problems::new(&files, vec![Problem::parsing(MAIN, &error)]))?;
        Reader::new(&mut files, changes)
            .read(&mut parsed)
            .map_err(|problems| Problems::new(&files, problems))?;
        let config = Checker::new(&files)
            .check(parsed)
            .map_err(|problems| Problems::new(&files, problems))?;
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
    // The error's own text quotes the line, which may contain a secret sequence.
    let table: Result<toml::Table, toml::de::Error> = text.parse();
    let table = table.map_err(|error| anyhow!("{}", error.message()));
    let table = table.with_context(describe)?;
    let state_dir = table.get("state_dir").and_then(toml::Value::as_str);
    Ok(state_dir.unwrap_or(DEFAULT_STATE_DIR).into())
}

/// The `key_file` of `[fleet]` in the configuration at `path`, if there is a `[fleet]`. For
/// `knockd fleet init`, which makes the file before the configuration is valid.
///
/// # Errors
///
/// Returns an error if the file cannot be read or is not TOML.
pub fn fleet_key_file(path: &Path) -> Result<Option<PathBuf>> {
    let text = read(path)?;
    // The error's own text quotes the line, which may contain a secret sequence.
    let table: Result<toml::Table, toml::de::Error> = text.parse();
    let table = table.map_err(|error| anyhow!("{}: {}", path.display(), error.message()))?;
    let file = table.get("fleet").and_then(|fleet| fleet.get("key_file"));
    let folder = path.parent().unwrap_or(Path::new("."));
    Ok(file
        .and_then(toml::Value::as_str)
        .map(|file| folder.join(file)))
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
    source::read(path).with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests;
