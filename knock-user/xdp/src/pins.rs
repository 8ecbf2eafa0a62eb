//! What outlives the daemon: the attached program and its leases, pinned in a bpf filesystem.
//!
//! ```text
//! /sys/fs/bpf/knockd/v1/          of layout version 1
//!     link-3-native               holds the program on the interface with index 3
//!     leases                      the map LEASES of that program
//!     protected                   the map PROTECTED
//! ```
//!
//! A start loads a program with maps of its own, copies the leases, puts the new program in
//! the place of the old one in each link, which the kernel does at once, and only then renames
//! the new maps over the old. Cut off anywhere, a program with the leases stays in force.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::{
    maps::{Map, MapData},
    programs::links::{FdLink, PinnedLink},
};
use knock_common::gate::LAYOUT_VERSION;
use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
    net::netdevice::index_to_name,
};
use tracing::{info, warn};

use crate::leases::Gate;
use knockd_types::rules::BPFFS;
use knockd_types::status::Mode;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPFFS_MAGIC: i64 = 0xcafe_4a11;

const LEASES: &str = "leases";
const PROTECTED: &str = "protected";
const LINK: &str = "link-";

/// The folder with what is pinned.
#[derive(Debug)]
pub struct PinDir {
    /// `pin_dir` of the configuration.
    root: PathBuf,
    /// The folder of this layout version in it.
    folder: PathBuf,
}

/// A link that was found pinned.
#[derive(Debug)]
pub struct Found {
    /// The interface's index.
    pub ifindex: u32,
    /// How the program runs there.
    pub mode: Mode,
    path: PathBuf,
}

impl Found {
    /// Opens the link.
    ///
    /// # Errors
    ///
    /// It is no link, or gone.
    pub fn open(&self) -> Result<FdLink> {
        Ok(PinnedLink::from_pin(&self.path)?.into())
    }
}

impl PinDir {
    /// What is pinned under `root`, whether or not anything can be.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            folder: root.join(format!("v{LAYOUT_VERSION}")),
        }
    }

    /// Makes the folder, and mounts the bpf filesystem that it is to be in, if that is missing
    /// at its usual place.
    ///
    /// # Errors
    ///
    /// Nothing can be pinned there.
    pub fn prepare(root: &Path) -> Result<()> {
        let pins = Self::at(root);
        if root.starts_with(BPFFS) && !is_bpffs(Path::new(BPFFS)) {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount("bpf", BPFFS, "bpf", flags, Some(c"mode=0700"))
                .with_context(|| format!("a bpf filesystem cannot be mounted at {BPFFS}"))?;
            info!("mounted a bpf filesystem at {BPFFS}");
        }
        let existing = root.ancestors().find(|ancestor| ancestor.exists());
        if !existing.is_some_and(is_bpffs) {
            bail!("{} is not in a bpf filesystem", root.display());
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&pins.folder)
            .with_context(|| format!("{}", pins.folder.display()))
    }

    /// Whether there is anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// The gate that a daemon before this one has left in force; `None` if there is none that
    /// this one can read.
    #[must_use]
    pub fn gate(&self, udp_idle: Duration) -> Option<Gate> {
        let map = |name| MapData::from_pin(self.folder.join(name)).ok();
        let leases = Map::HashMap(map(LEASES)?);
        let protected = Map::Array(map(PROTECTED)?);
        Gate::new(leases, protected, udp_idle).ok()
    }

    /// The links that are pinned, by whatever layout version, this one's first.
    #[must_use]
    pub fn links(&self) -> Vec<Found> {
        let mut links: Vec<_> = self
            .entries()
            .into_iter()
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?.strip_prefix(LINK)?;
                let (ifindex, mode) = name.split_once('-')?;
                Some(Found {
                    ifindex: ifindex.parse().ok()?,
                    mode: Mode::from_name(mode)?,
                    path,
                })
            })
            .collect();
        links.sort_by_key(|link| !link.path.starts_with(&self.folder));
        links
    }

    /// PinDir `link`, which is in the place of whatever was pinned for its interface before.
    ///
    /// # Errors
    ///
    /// The filesystem refuses.
    pub fn pin_link(&self, ifindex: u32, mode: Mode, link: FdLink) -> Result<PinnedLink> {
        let path = self.link(ifindex, mode);
        let new = self.folder.join("new");
        remove(&new)?;
        let link = link.pin(&new)?;
        fs::rename(&new, &path)?;
        Ok(link)
    }

    /// Removes the link of an interface that is gone, or left alone from now on.
    pub fn remove_link(&self, ifindex: u32, mode: Mode) {
        remove_or_warn(&self.link(ifindex, mode));
    }

    /// PinDir the maps of `gate` in the place of those that are pinned.
    ///
    /// # Errors
    ///
    /// The filesystem refuses.
    pub fn pin_maps(&self, gate: &Gate) -> Result<()> {
        let new = self.folder.join("new");
        remove(&new)?;
        gate.leases.pin(&new)?;
        fs::rename(&new, self.folder.join(LEASES))?;
        gate.protected.pin(&new)?;
        fs::rename(&new, self.folder.join(PROTECTED))?;
        Ok(())
    }

    /// Removes every link but those for `kept`, and what another layout version has left.
    pub fn keep_only(&self, kept: &[(u32, Mode)]) {
        for found in self.links() {
            let is_ours = found.path.starts_with(&self.folder);
            if !is_ours || !kept.contains(&(found.ifindex, found.mode)) {
                remove_or_warn(&found.path);
            }
        }
        for path in self.entries() {
            if !path.starts_with(&self.folder) {
                remove_or_warn(&path);
            }
        }
        for folder in self.versions() {
            if folder != self.folder {
                // Not empty if somebody else keeps something there.
                let _ = fs::remove_dir(folder);
            }
        }
    }

    /// Removes everything and says what that means.
    pub fn detach(&self) {
        let ports = self.gate(Duration::ZERO).map(|gate| gate.protected());
        let ports: Vec<_> = ports.iter().flatten().map(ToString::to_string).collect();
        let links = self.links();
        self.remove();
        for link in &links {
            println!("detached from {}", interface(link.ifindex));
        }
        if links.is_empty() {
            println!("nothing was attached");
        } else if !ports.is_empty() {
            println!("no longer protected: {}", ports.join(", "));
        }
    }

    /// Removes everything: what nobody else holds is detached when this returns.
    pub fn remove(&self) {
        for link in self.links() {
            // The kernel detaches at once where a file descriptor is closed last, and some
            // time later where a file is.
            let held = link.open();
            remove_or_warn(&link.path);
            drop(held);
        }
        for path in self.entries() {
            remove_or_warn(&path);
        }
        for folder in self.versions() {
            let _ = fs::remove_dir(folder);
        }
        let _ = fs::remove_dir(&self.root);
    }

    fn link(&self, ifindex: u32, mode: Mode) -> PathBuf {
        self.folder.join(format!("{LINK}{ifindex}-{mode}"))
    }

    /// Every pin of every layout version.
    fn entries(&self) -> Vec<PathBuf> {
        self.versions()
            .iter()
            .flat_map(|folder| list(folder))
            .collect()
    }

    fn versions(&self) -> Vec<PathBuf> {
        let is_version = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.strip_prefix('v'));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        list(&self.root).into_iter().filter(is_version).collect()
    }
}

/// The name of the interface with this index, if there is one still.
fn interface(index: u32) -> String {
    let name = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )
    .and_then(|socket| index_to_name(&socket, index));
    name.unwrap_or_else(|_| format!("interface {index}, which is gone"))
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.f_type == BPFFS_MAGIC)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_or_warn(path: &Path) {
    if let Err(error) = remove(path) {
        warn!("{} cannot be removed: {error}", path.display());
    }
}
