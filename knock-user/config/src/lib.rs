//! The configuration of knockd. The file is read once and validated as a whole, so that a
//! [`Config`] has no invalid state.
//!
//! [`model`] contains the validated values. Of the private modules, `file` describes the format
//! of the file, `include` reads the files that it includes, `value` validates single values, `check`
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
    include::Reader,
    place::{MAIN, Problem, Problems, SourceFile},
};

/// The largest file that is read, and the most that is read of all included files, in bytes: room
/// for a million clients. A larger one is probably the wrong file.
const MAX_FILE_LEN: u64 = 128 * 1024 * 1024;

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
        Self::parse_files(text, path, None)
    }

    /// Validates the configuration at `path` as if `text` were the content of the file `changed`, one
    /// of its [files](Config::files).
    ///
    /// # Errors
    ///
    /// See [`Config::load`].
    pub fn parse_changed(path: &Path, changed: &Path, text: &str) -> Result<Self> {
        if path == changed {
            return Self::parse(text, path);
        }
        Self::parse_files(&read(path)?, path, Some((changed, text)))
    }

    fn parse_files(text: &str, path: &Path, changed: Option<(&Path, &str)>) -> Result<Self> {
        let mut files = vec![SourceFile {
            path: path.to_owned(),
            text: text.into(),
        }];
        let mut parsed = toml::from_str(text)
            .map_err(|error| Problems::new(&files, vec![Problem::parsing(MAIN, &error)]))?;
        Reader::new(&mut files, changed)
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
