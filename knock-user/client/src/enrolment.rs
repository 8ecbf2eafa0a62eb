//! Enrolments: key pairs that wait for the invitation of their server.
//!
//! `knock enroll` makes the pair on this host, so that the private key never leaves it. Each is a
//! file `pending/NAME@HOST.key` beside the profiles, with the name that the profile will have and
//! the server that it is for. `knock import` moves the key to its profile.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use knock_common::protocol::identity::{KeyPair, Owner, PrivateKey, PublicKey};
use knockd_credentials::key_file::{self, ReadKeyError};
use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::{
    name::Name,
    profile::{create_folder, file_name_of},
    server::Server,
};

const FOLDER: &str = "pending";
const EXTENSION: &str = ".key";

/// The enrolments of a user.
#[derive(Debug)]
pub(super) struct Enrolments {
    folder: PathBuf,
}

/// A key pair that waits for an invitation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Enrolment {
    /// The name that the profile will have.
    pub(super) name: Name,
    /// The server, as the user gave it.
    pub(super) host: String,
    path: PathBuf,
}

/// Why there is no such enrolment.
#[derive(Debug, Error)]
pub(super) enum EnrolmentError {
    /// A file or directory cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    /// The private key cannot be used.
    #[error("{}: {error}", path.display())]
    Key { path: PathBuf, error: ReadKeyError },
    /// Another enrolment has the name.
    #[error(
        "there is an enrolment `{0}` for {1} already, which is left unchanged: choose another name with --name"
    )]
    Taken(Name, String),
    /// None fits the invitation.
    #[error(
        "this invitation contains no key, so it completes an enrolment, and there is none {wanted}. {}",
        ways_out(.others)
    )]
    None { wanted: String, others: Vec<String> },
    /// Several fit the invitation.
    #[error("{} enrolments are for {host}: choose one with --name: {}", names.len(), names.join(", "))]
    Several { host: String, names: Vec<String> },
}

fn ways_out(others: &[String]) -> String {
    let start =
        "`knock enroll HOST` starts one: it makes the key, and says what to run on the server";
    match others {
        [] => format!("{start}."),
        _ => format!("Choose one with --name: {}; or {start}.", others.join(", ")),
    }
}

impl Enrolments {
    /// Those in the configuration directory `folder`.
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            folder: folder.join(FOLDER),
        }
    }

    /// All enrolments, by name.
    pub(super) fn list(&self) -> Result<Vec<Enrolment>, EnrolmentError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| io_error(&self.folder, error))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| io_error(&self.folder, error))?.path();
            found.extend(parse(&path).map(|(name, host)| Enrolment { name, host, path }));
        }
        found.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        Ok(found)
    }

    /// Makes a key pair for the profile `name` of the server `host`, or finds the one that was made
    /// before. Returns its public key.
    pub(super) fn start(&self, name: &Name, host: &Server) -> Result<PublicKey, EnrolmentError> {
        if let Some(found) = self.list()?.into_iter().find(|it| it.name == *name) {
            if found.host != host.as_str() {
                return Err(EnrolmentError::Taken(found.name, found.host));
            }
            return Ok(found.read()?.public());
        }
        let name = file_name_of(name.as_str());
        let host = file_name_of(host.as_str());
        let path = self.folder.join(format!("{name}@{host}{EXTENSION}"));
        create_folder(&self.folder).map_err(|error| io_error(&self.folder, error))?;
        let failed = |error| io_error(&path, error);
        let pair = KeyPair::from(key_file::generate().map_err(failed)?);
        key_file::create(Owner::Client, &path, pair.private()).map_err(failed)?;
        Ok(pair.public())
    }

    /// The enrolment that an invitation to `host` completes: the one with `name`, or else the only
    /// one for this host.
    pub(super) fn find(
        &self,
        name: Option<&Name>,
        host: &Server,
    ) -> Result<Enrolment, EnrolmentError> {
        let (mut fitting, others): (Vec<_>, Vec<_>) =
            self.list()?.into_iter().partition(|it| match name {
                Some(name) => it.name == *name,
                None => it.host.eq_ignore_ascii_case(host.as_str()),
            });
        let names = |all: &[Enrolment]| -> Vec<String> {
            let shown = all
                .iter()
                .map(|it| format!("{} (for {})", it.name, it.host));
            shown.collect()
        };
        match (fitting.pop(), fitting.as_slice()) {
            (Some(only), []) => Ok(only),
            (None, _) => Err(EnrolmentError::None {
                wanted: match name {
                    Some(name) => format!("with the name `{name}`"),
                    None => format!("for {host}"),
                },
                others: names(&others),
            }),
            (Some(last), _) => {
                fitting.push(last);
                let host = host.to_string();
                let names = fitting.iter().map(|it| it.name.to_string()).collect();
                Err(EnrolmentError::Several { host, names })
            }
        }
    }
}

impl Enrolment {
    /// Reads the private key.
    pub(super) fn read(&self) -> Result<PrivateKey, EnrolmentError> {
        key_file::read(Owner::Client, &self.path).map_err(|error| EnrolmentError::Key {
            path: self.path.clone(),
            error,
        })
    }

    /// Removes the key, after its profile has a copy.
    pub(super) fn finish(&self) -> Result<(), EnrolmentError> {
        fs::remove_file(&self.path).map_err(|error| io_error(&self.path, error))
    }
}

fn io_error(path: &Path, error: io::Error) -> EnrolmentError {
    let path = path.to_owned();
    EnrolmentError::Io { path, error }
}

/// The name and the host in a file's name; `None` for other files.
fn parse(path: &Path) -> Option<(Name, String)> {
    let stem = path.file_name()?.to_str()?.strip_suffix(EXTENSION)?;
    let (name, host) = stem.split_once('@')?;
    let decoded = |text| percent_decode_str(text).decode_utf8().ok();
    Some((decoded(name)?.parse().ok()?, decoded(host)?.into_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(name: &str) -> Name {
        name.parse().unwrap()
    }

    fn server(host: &str) -> Server {
        host.parse().unwrap()
    }

    fn enrolments() -> (tempfile::TempDir, Enrolments) {
        let folder = tempfile::tempdir().unwrap();
        let enrolments = Enrolments::of(&folder.path().join("knock"));
        (folder, enrolments)
    }

    fn found(enrolments: &Enrolments, name: Option<&str>, host: &str) -> Result<String, String> {
        let name = name.map(self::name);
        let found = enrolments.find(name.as_ref(), &server(host));
        found
            .map(|it| it.name.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn starting_again_shows_the_same_key() {
        let (_folder, enrolments) = enrolments();
        let first = enrolments.start(&name("home"), &server("host")).unwrap();
        let again = enrolments.start(&name("home"), &server("host")).unwrap();
        assert_eq!(first, again);
        let other = enrolments.start(&name("work"), &server("host")).unwrap();
        assert_ne!(first, other);
        let error = enrolments.start(&name("home"), &server("elsewhere"));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`home` for host already"), "{error}");
        let all = enrolments.list().unwrap();
        assert_eq!(all[0].read().unwrap().public(), first);
    }

    #[cfg(unix)]
    #[test]
    fn the_key_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;

        let (folder, enrolments) = enrolments();
        enrolments.start(&name("home"), &server("::1")).unwrap();
        for (path, mode) in [("", 0o700), ("home@%3A%3A1.key", 0o600)] {
            let path = folder.path().join("knock/pending").join(path);
            let found = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(found & 0o7777, mode);
        }
    }

    #[test]
    fn an_invitation_finds_its_enrolment_by_name_or_host() {
        let (_folder, enrolments) = enrolments();
        let error = found(&enrolments, None, "host").unwrap_err();
        assert!(error.contains("none for host. `knock enroll"), "{error}");

        enrolments.start(&name("home"), &server("host")).unwrap();
        assert_eq!(found(&enrolments, None, "HOST").unwrap(), "home");
        // The administrator may know the server by another name.
        let error = found(&enrolments, None, "192.0.2.1").unwrap_err();
        assert!(error.contains("--name: home (for host); or"), "{error}");
        assert_eq!(
            found(&enrolments, Some("home"), "192.0.2.1").unwrap(),
            "home"
        );
        let error = found(&enrolments, Some("hoem"), "host").unwrap_err();
        assert!(error.contains("none with the name `hoem`"), "{error}");

        enrolments.start(&name("work"), &server("host")).unwrap();
        let error = found(&enrolments, None, "host").unwrap_err();
        assert!(error.contains("2 enrolments are for host"), "{error}");
        assert!(error.contains("home") && error.contains("work"), "{error}");
        assert_eq!(found(&enrolments, Some("work"), "host").unwrap(), "work");
    }

    #[test]
    fn a_finished_enrolment_is_gone() {
        let (_folder, enrolments) = enrolments();
        enrolments.start(&name("home"), &server("host")).unwrap();
        let only = enrolments.find(None, &server("host")).unwrap();
        only.finish().unwrap();
        assert_eq!(enrolments.list().unwrap(), []);
        assert!(only.read().is_err());
    }

    #[test]
    fn a_damaged_key_is_named_and_not_shown() {
        let (folder, enrolments) = enrolments();
        enrolments.start(&name("home"), &server("host")).unwrap();
        let path = folder.path().join("knock/pending/home@host.key");
        fs::write(&path, "knock2:sesame").unwrap();
        let error = enrolments.start(&name("home"), &server("host"));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("home@host.key"), "{error}");
        assert!(!error.contains("sesame"), "{error}");
    }

    proptest! {
        #[test]
        fn every_name_and_host_has_a_file(name in "[^\\p{C}\\p{Z}]{1,16}", host in "[^\\p{Cc}]{1,16}") {
            let file = format!("{}@{}.key", file_name_of(&name), file_name_of(&host));
            let read = parse(&Path::new("pending").join(file));
            prop_assert_eq!(read, Some((name.parse().unwrap(), host)));
        }

        #[test]
        fn any_file_is_an_enrolment_or_not(file: String) {
            let _ = parse(Path::new(&file));
        }
    }
}
