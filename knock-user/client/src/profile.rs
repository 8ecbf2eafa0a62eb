//! Profiles: what a client knows of its servers, kept in the user's configuration directory.
//!
//! `knock/knock.toml` there holds the profiles and no secret; the keys are in files of their
//! own beside it. Only [`Profiles::add`] writes, and it only ever adds.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use directories::BaseDirs;
use knock_common::{protocol::sealed::RequestedLease, window::Window};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use thiserror::Error;

pub use self::file::Mistake;
use crate::{name::Name, server::Server, source_ip::SourceIp, verify::TcpPort};
use knockd_credentials::{invitation::Invitation, key_file};

mod file;

/// More than thousands of profiles; what is longer is some other file.
const MAX_LEN: u64 = 1 << 20;

const FILE_NAME: &str = "knock.toml";

/// The folder of the keys, beside the file of the profiles.
const KEYS: &str = "keys";

const HEADER: &str = "\
# The profiles of knock. Each may also have `for`, `source_ip` and `verify`, as the options
# of these names; one without `key_file` asks for its passphrase.
";

/// What of a profile's name stands for itself in the name of its key's file, on every system.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// How to knock on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What a person types for it.
    pub name: Name,
    /// The server.
    pub server: Server,
    /// This client's name at the server.
    pub client: Name,
    /// The server's window.
    pub window: Window,
    /// The file of this client's key; without one, a passphrase is asked for.
    pub key_file: Option<PathBuf>,
    /// The lease to ask for, unless told otherwise.
    pub lease: Option<RequestedLease>,
    /// What knocks are bound to, unless told otherwise.
    pub source_ip: Option<SourceIp>,
    /// The port that has to answer, unless told otherwise.
    pub verify: Option<TcpPort>,
}

/// The profiles of a user, and where they are kept.
#[derive(Clone, Debug)]
pub struct Profiles {
    folder: PathBuf,
    text: String,
    profiles: Vec<Profile>,
}

/// A name that nobody could type where a server is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a profile's name does not begin with a hyphen, and has a colon only if it is an IPv6 address, without brackets"
)]
pub struct UnusableName;

/// Refuses `name` unless it can be typed where a server is named.
///
/// # Errors
///
/// [`UnusableName`].
pub fn check_name(name: &Name) -> Result<(), UnusableName> {
    match name.as_str().parse::<Server>() {
        Ok(typed) if typed.as_str() == name.as_str() && !name.as_str().starts_with('-') => Ok(()),
        _ => Err(UnusableName),
    }
}

/// Why there are no profiles, or no further one.
#[derive(Debug, Error)]
pub enum ProfilesError {
    /// The system knows no configuration directory of this user.
    #[error("there is no configuration directory to keep profiles in: this user has no home")]
    NoHome,
    /// A file or folder cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Others could send this user's knocks elsewhere.
    #[error("{}: group or others can change it (mode {mode:04o}): chmod go-w it, and see that it says what it should", path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is no file of profiles.
    #[error("{}: it is longer than {MAX_LEN} bytes: is it the right file?", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It says something that it cannot say.
    #[error("{}:{mistake}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        mistake: Mistake,
    },
    /// A profile of the name exists.
    #[error("there is a profile `{name}` already, and it is left as it is: choose another name with --name, or remove it from {}", path.display())]
    Exists {
        /// The name.
        name: Name,
        /// The file of the profiles.
        path: PathBuf,
    },
    /// The file that the key belongs into exists.
    #[error("{} exists already, and is left as it is: choose another name with --name, or remove it", path.display())]
    KeyExists {
        /// The file.
        path: PathBuf,
    },
}

impl Profiles {
    /// Those of the user who runs this program.
    ///
    /// # Errors
    ///
    /// [`ProfilesError`] if he has no configuration directory, or as [`Profiles::load`] has it.
    pub fn of_user() -> Result<Self, ProfilesError> {
        let folders = BaseDirs::new().ok_or(ProfilesError::NoHome)?;
        Self::load(folders.config_dir().join("knock"))
    }

    /// No profile, for a user who can have none.
    pub(super) fn none() -> Self {
        Self {
            folder: PathBuf::new(),
            text: String::new(),
            profiles: Vec::new(),
        }
    }

    /// Those in `folder`; none if it or its `knock.toml` does not exist.
    ///
    /// # Errors
    ///
    /// [`ProfilesError`] if the file cannot be read, has a mistake or, on Unix, can be changed
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

    /// Every profile, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.iter()
    }

    /// The profile called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.iter().find(|profile| profile.name.as_str() == name)
    }

    /// Keeps what `invitation` says as the profile `name`, and its key in a file of its own.
    ///
    /// # Errors
    ///
    /// [`ProfilesError`] if there is such a profile or key already, or the files cannot be
    /// written. Then nothing has changed.
    pub fn add(
        &mut self,
        name: &Name,
        client: &Name,
        server: &Server,
        invitation: &Invitation,
    ) -> Result<(), ProfilesError> {
        let path = self.folder.join(FILE_NAME);
        if self.get(name.as_str()).is_some() {
            let name = name.clone();
            return Err(ProfilesError::Exists { name, path });
        }
        let key = format!("{}.key", utf8_percent_encode(name.as_str(), ENCODED));
        let entry = file::Entry {
            name: name.as_str(),
            host: server.as_str(),
            client: client.as_str(),
            base: invitation.window.base(),
            key_file: &format!("{KEYS}/{key}"),
        };
        // Reading it again shows an addition that the file does not allow, before it is there.
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
        let key = keys.join(key);
        key_file::create(&key, &invitation.key).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => ProfilesError::KeyExists { path: key.clone() },
            _ => io_error(&key, error),
        })?;
        if let Err(error) = append(&path, &addition) {
            // Otherwise the next attempt would find it in its way.
            let _ = std::fs::remove_file(&key);
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

#[cfg(unix)]
fn refuse_writable(file: &File, path: &Path) -> Result<(), ProfilesError> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = file.metadata().map_err(|error| io_error(path, error))?;
    match metadata.mode() & 0o7777 {
        mode if mode & 0o022 == 0 => Ok(()),
        mode => Err(ProfilesError::Writable {
            path: path.to_owned(),
            mode,
        }),
    }
}

/// Elsewhere a user's files are his own by inherited access lists, which this does not read.
#[cfg(not(unix))]
fn refuse_writable(_file: &File, _path: &Path) -> Result<(), ProfilesError> {
    Ok(())
}

/// Creates `path` and what it lies in, for their owner alone.
fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// In one write at the end, so that nothing that stands there is touched, nor what another
/// import adds meanwhile.
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
