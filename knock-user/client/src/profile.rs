//! Profiles: the stored servers of a user, in a directory of their own.
//!
//! `knock.toml` in that directory contains the profiles but no secrets; each key is in a file of its
//! own. Only [`Profiles::add`] writes, and it only appends.

pub(crate) mod file;
mod settings;

use std::{
    env,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use directories::BaseDirs;
use knock_common::protocol::identity::{Owner, PrivateKey};
use knockd_credentials::{
    access::{self, MAKE_READ_ONLY},
    invitation::Invitation,
    key_file,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use thiserror::Error;

pub use self::{
    file::Mistake,
    settings::{Profile, check_name},
};
use crate::{name::Name, server::Server, transport::Transport};

/// The maximum size of the file. Thousands of profiles fit; a longer file is a different file.
const MAX_LEN: u64 = 1 << 20;

const FILE_NAME: &str = "knock.toml";

/// The variable that names the directory of the profiles, in the place of `knock` in the user's
/// configuration directory.
pub const DIRECTORY_VARIABLE: &str = "KNOCK_CONFIG_DIR";

/// The directory of the keys, beside the profiles' file.
const KEYS: &str = "keys";

const HEADER: &str = "\
# The profiles of knock. Each may also set `for`, `source_ip`, `resolve_ip`, `time`, `time_offset`
# and `verify`, like the options of these names; `transport` is \"syn\", \"udp\" or \"both\". For a
# profile without `key_file`, knock prompts for the passphrase.
";

/// The characters of a name that the name of its key's file percent-encodes. The others are
/// valid in file names on every system.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// File names that are devices on Windows, also with an extension (Microsoft, "Naming Files, Paths, and
/// Namespaces").
const DEVICES: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8",
    "com9", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// The profiles of a user and their directory.
#[derive(Clone, Debug)]
pub struct Profiles {
    folder: PathBuf,
    text: String,
    profiles: Vec<Profile>,
}

/// Why the profiles cannot be read, or a profile cannot be added.
#[derive(Debug, Error)]
pub enum ProfilesError {
    /// The configuration directory of this user is unknown.
    #[error("there is no configuration directory for profiles: this user has no home directory")]
    NoHome,
    /// A file or directory cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// Other users could redirect this user's knocks.
    #[error("{}: others can change it ({source_of_access}): use {MAKE_READ_ONLY}, and check its content", path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its mode, or its access control list.
        source_of_access: String,
    },
    /// It is not a file of profiles.
    #[error("{}: it is longer than {MAX_LEN} bytes: is it the right file?", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The content is invalid.
    #[error("{}:{mistake}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        mistake: Mistake,
    },
    /// A profile with this name exists.
    #[error("there is a profile `{name}` already, which is left unchanged: choose another name with --name, or remove it from {}", path.display())]
    Exists {
        /// The name.
        name: Name,
        /// The file of the profiles.
        path: PathBuf,
    },
    /// The file for the key exists.
    #[error("{} exists already and is left unchanged: choose another name with --name, or remove the file", path.display())]
    KeyExists {
        /// The file.
        path: PathBuf,
    },
}

impl Profiles {
    /// Reads the profiles of the user who runs this program.
    ///
    /// # Errors
    ///
    /// Returns [`ProfilesError`] if there is no configuration directory and [`DIRECTORY_VARIABLE`] names
    /// none, or as [`Profiles::load`] does.
    pub fn of_user() -> Result<Self, ProfilesError> {
        if let Some(folder) = env::var_os(DIRECTORY_VARIABLE).filter(|name| !name.is_empty()) {
            return Self::load(folder.into());
        }
        let folders = BaseDirs::new().ok_or(ProfilesError::NoHome)?;
        // On Windows the other configuration directory is copied between the computers of a domain.
        Self::load(folders.config_local_dir().join("knock"))
    }

    /// An empty set, for a user without a configuration directory.
    pub(super) fn none() -> Self {
        Self {
            folder: PathBuf::new(),
            text: String::new(),
            profiles: Vec::new(),
        }
    }

    /// Reads the profiles in `folder`; there are none if it or its `knock.toml` does not exist.
    ///
    /// # Errors
    ///
    /// Returns [`ProfilesError`] if the file cannot be read, is invalid or, on Unix, can be changed
    /// by group or others.
    pub fn load(folder: PathBuf) -> Result<Self, ProfilesError> {
        let path = folder.join(FILE_NAME);
        let text = read(&path)?;
        let profiles = file::parse(&text, &folder)
            .map_err(|mistake| ProfilesError::Invalid { path, mistake })?;
        Ok(Self {
            folder,
            text,
            profiles,
        })
    }

    /// The directory of the profiles.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that they are in, which need not exist.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(FILE_NAME)
    }

    /// All profiles, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.iter()
    }

    /// The profile with this `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.iter().find(|profile| profile.name.as_str() == name)
    }

    /// Stores `invitation` as the profile `name`, and this client's private `key` in a new file.
    ///
    /// # Errors
    ///
    /// Returns [`ProfilesError`] if the profile or the key exists, or the files cannot be written.
    /// Then nothing has changed.
    pub fn add(
        &mut self,
        name: &Name,
        client: &Name,
        server: &Server,
        invitation: &Invitation,
        key: &PrivateKey,
    ) -> Result<(), ProfilesError> {
        let path = self.folder.join(FILE_NAME);
        // The key files of both would be one file where the file system does not distinguish case.
        let is_same = |other: &&Profile| other.name.as_str().eq_ignore_ascii_case(name.as_str());
        if let Some(other) = self.iter().find(is_same) {
            let name = other.name.clone();
            return Err(ProfilesError::Exists { name, path });
        }
        let file = key_file_of(name.as_str());
        let entry = file::Entry {
            name: name.as_str(),
            host: server.as_str(),
            client: client.as_str(),
            server_key: invitation.server,
            base: invitation.window.base(),
            udp: invitation.udp,
            transport: Transport::default(),
            key_file: &format!("{KEYS}/{file}"),
        };
        // Parses the result first, so that an invalid file is reported before anything is written.
        let read_again = |addition: String| {
            let text = format!("{}{addition}", self.text);
            file::parse(&text, &self.folder).map(|profiles| (addition, text, profiles))
        };
        let (addition, text, profiles) =
            match entry.addition(&self.text, HEADER).and_then(read_again) {
                Ok(checked) => checked,
                Err(mistake) => return Err(ProfilesError::Invalid { path, mistake }),
            };

        let keys = self.folder.join(KEYS);
        create_folder(&keys).map_err(|error| io_error(&keys, error))?;
        let file = keys.join(file);
        key_file::create(Owner::Client, &file, key).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => ProfilesError::KeyExists { path: file.clone() },
            _ => io_error(&file, error),
        })?;
        if let Err(error) = append(&path, &addition) {
            // Otherwise the next attempt would fail because the file exists.
            let _ = std::fs::remove_file(&file);
            return Err(io_error(&path, error));
        }
        (self.text, self.profiles) = (text, profiles);
        Ok(())
    }
}

fn io_error(path: &Path, error: io::Error) -> ProfilesError {
    let path = path.to_owned();
    ProfilesError::Io { path, error }
}

fn read(path: &Path) -> Result<String, ProfilesError> {
    let failed = |error| io_error(path, error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => opened.map_err(failed)?,
    };
    refuse_writable(&file, path)?;
    let mut text = String::new();
    let mut file = file.take(MAX_LEN + 1);
    file.read_to_string(&mut text).map_err(failed)?;
    if file.limit() == 0 {
        let path = path.to_owned();
        return Err(ProfilesError::TooLong { path });
    }
    Ok(text)
}

fn refuse_writable(file: &File, path: &Path) -> Result<(), ProfilesError> {
    let others = access::of_others(file).map_err(|error| io_error(path, error))?;
    if others.write {
        return Err(ProfilesError::Writable {
            path: path.to_owned(),
            source_of_access: others.source,
        });
    }
    Ok(())
}

/// `name` as part of a file's name.
pub(super) fn file_name_of(name: &str) -> PercentEncode<'_> {
    utf8_percent_encode(name, ENCODED)
}

/// The file of the key of the profile `name`.
fn key_file_of(name: &str) -> String {
    let file = format!("{}.key", file_name_of(name));
    let stem = file.split('.').next().unwrap_or_default();
    match DEVICES
        .iter()
        .any(|device| stem.eq_ignore_ascii_case(device))
    {
        true => format!("_{file}"),
        false => file,
    }
}

/// Creates the directory `path` and its parents, accessible only by their owner.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Appends `text` with one write, so that existing content and concurrent imports are preserved.
fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
