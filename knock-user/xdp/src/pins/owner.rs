//! Whose pins they are: a bpf filesystem can be shared, for instance by containers.
//!
//! The record is the target of the symbolic link `owner` in the pins' directory, because a bpf
//! filesystem has no files with content.

use std::{
    fmt, fs, io,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, absolute},
};

use anyhow::{Context as _, Result};
use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// The namespace whose interfaces the pinned links are attached to.
const NETWORK_NAMESPACE: &str = "/proc/self/ns/net";

const RECORD: &str = "owner";

/// A knockd that owns pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    host: String,
    /// The inode of the network namespace. It is unique among existing ones.
    network: u64,
    config: String,
    state_dir: Option<String>,
}

impl Owner {
    /// A knockd in this network namespace with the configuration file `config` and this `state_dir`,
    /// if that is known.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no working directory or /proc is not mounted.
    pub fn here(config: &Path, state_dir: Option<&Path>) -> Result<Self> {
        let network = fs::metadata(NETWORK_NAMESPACE).context(NETWORK_NAMESPACE)?;
        let text = |path: &Path| Ok::<_, io::Error>(absolute(path)?.to_string_lossy().into_owned());
        Ok(Self {
            host: uname().nodename().to_string_lossy().into_owned(),
            network: network.ino(),
            config: text(config)?,
            state_dir: state_dir.map(text).transpose()?,
        })
    }

    /// The owner of the pins in `root`; `None` if there is no valid record.
    pub(super) fn of(root: &Path) -> Option<Self> {
        let record = fs::read_link(root.join(RECORD)).ok()?;
        serde_json::from_str(record.to_str()?).ok()
    }

    /// Records that the pins in `root` are this knockd's.
    ///
    /// # Errors
    ///
    /// Returns an error if the record cannot be written.
    pub(super) fn record(&self, root: &Path) -> Result<()> {
        if Self::of(root).as_ref() == Some(self) {
            return Ok(());
        }
        let new = root.join("owner-new");
        remove(&new)?;
        symlink(serde_json::to_string(self)?, &new)?;
        Ok(fs::rename(&new, root.join(RECORD))?)
    }

    /// Removes the record from `root`.
    pub(super) fn forget(root: &Path) {
        // What remains names an owner of nothing.
        let _ = remove(&root.join(RECORD));
    }

    /// Whether both are the same installation of knockd. Its configuration file or its state directory
    /// may have moved, but not both.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let shares_state = self.state_dir.is_some() && self.state_dir == other.state_dir;
        self.shares_network(other) && (self.config == other.config || shares_state)
    }

    /// Whether both attach to the same interfaces.
    pub(super) fn shares_network(&self, other: &Self) -> bool {
        self.network == other.network
    }

    /// How this one differs from `here`.
    pub(super) fn described(&self, here: &Self) -> String {
        let place = if self.shares_network(here) {
            "this"
        } else {
            "another"
        };
        format!("{self}, in {place} network namespace")
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {}, configuration {}", self.host, self.config)
    }
}

fn remove(link: &Path) -> io::Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(config: &str, state_dir: Option<&str>) -> Owner {
        Owner::here(config.as_ref(), state_dir.map(Path::new)).unwrap()
    }

    #[test]
    fn either_the_configuration_or_the_state_may_have_moved() {
        let before = owner("/etc/knockd/knockd.toml", Some("/var/lib/knockd"));
        for same in [
            owner("/etc/knockd/knockd.toml", Some("/srv/knockd")),
            owner("/srv/knockd.toml", Some("/var/lib/knockd")),
            // `knockd detach` without a valid configuration.
            owner("/etc/knockd/knockd.toml", None),
        ] {
            assert!(same.is_same(&before), "{same:?}");
        }
        assert!(!owner("/srv/knockd.toml", Some("/srv/knockd")).is_same(&before));
        assert!(!owner("/srv/knockd.toml", None).is_same(&owner("/srv/other.toml", None)));
    }

    #[test]
    fn another_network_namespace_is_another_owner() {
        let here = owner("/etc/knockd/knockd.toml", Some("/var/lib/knockd"));
        let there = Owner {
            network: here.network + 1,
            host: "web".into(),
            ..here.clone()
        };
        assert!(!there.is_same(&here));
        let expected =
            "host web, configuration /etc/knockd/knockd.toml, in another network namespace";
        assert_eq!(there.described(&here), expected);
    }

    #[test]
    fn a_record_can_be_replaced_and_removed() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Owner::of(root.path()), None);
        for name in ["a", "b \"quoted\"\n"] {
            let owner = owner(name, None);
            owner.record(root.path()).unwrap();
            assert_eq!(Owner::of(root.path()), Some(owner));
        }
        Owner::forget(root.path());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        symlink("no record", root.path().join(RECORD)).unwrap();
        assert_eq!(Owner::of(root.path()), None);
    }
}
