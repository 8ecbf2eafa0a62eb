//! Pins the attached program and its leases in a bpf filesystem, so that they outlive the daemon.
//!
//! ```text
//! /sys/fs/bpf/knockd/v1/          layout version 1
//!     link-3-native               the link of the interface with index 3
//!     leases                      the program's map LEASES
//!     protected                   the program's map PROTECTED
//! ```
//!
//! At its start, the daemon loads a program with new maps, copies the leases, atomically replaces
//! the old program in each link, and only then renames the new maps over the old ones. Whenever
//! it is killed, a program with the current leases stays in force.

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
use knockd_types::{rules::BPFFS, status::Mode};
use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
    net::netdevice::index_to_name,
};
use tracing::{info, warn};

use crate::leases::Gate;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPFFS_MAGIC: i64 = 0xcafe_4a11;

const LEASES: &str = "leases";
const PROTECTED: &str = "protected";
const LINK: &str = "link-";

/// The directory of the pinned objects.
#[derive(Debug)]
pub struct PinDir {
    /// `pin_dir` of the configuration.
    root: PathBuf,
    /// The subdirectory of the current layout version.
    dir: PathBuf,
}

/// A pinned link.
#[derive(Debug)]
pub struct Found {
    /// The interface's index.
    pub ifindex: u32,
    /// The XDP mode.
    pub mode: Mode,
    path: PathBuf,
}

impl Found {
    /// Opens the link.
    ///
    /// # Errors
    ///
    /// Returns an error if the pin does not exist or is not a link.
    pub fn open(&self) -> Result<FdLink> {
        Ok(PinnedLink::from_pin(&self.path)?.into())
    }
}

impl PinDir {
    /// The pins in the directory `root`, which need not exist.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            dir: root.join(format!("v{LAYOUT_VERSION}")),
        }
    }

    /// Creates the directory. Mounts a bpf filesystem at [`BPFFS`] if `root` is below it and there
    /// is none.
    ///
    /// # Errors
    ///
    /// Returns an error if `root` is not in a bpf filesystem or cannot be created.
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
            .create(&pins.dir)
            .with_context(|| format!("{}", pins.dir.display()))
    }

    /// Whether nothing is pinned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// The pinned gate of an earlier daemon. `None` if there is none, or if its maps have another
    /// layout.
    #[must_use]
    pub fn gate(&self, udp_idle: Duration) -> Option<Gate> {
        let map = |name| MapData::from_pin(self.dir.join(name)).ok();
        let leases = Map::HashMap(map(LEASES)?);
        let protected = Map::Array(map(PROTECTED)?);
        Gate::new(leases, protected, udp_idle).ok()
    }

    /// The pinned links of all layout versions, those of the current version first.
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
        links.sort_by_key(|link| !link.path.starts_with(&self.dir));
        links
    }

    /// Pins `link`. Replaces an existing pin for the interface.
    ///
    /// # Errors
    ///
    /// Returns an error if the pin cannot be created.
    pub fn pin_link(&self, ifindex: u32, mode: Mode, link: FdLink) -> Result<PinnedLink> {
        let path = self.link(ifindex, mode);
        let new = self.dir.join("new");
        remove(&new)?;
        let link = link.pin(&new)?;
        fs::rename(&new, &path)?;
        Ok(link)
    }

    /// Removes the pinned link of an interface.
    pub fn remove_link(&self, ifindex: u32, mode: Mode) {
        remove_or_warn(&self.link(ifindex, mode));
    }

    /// Pins the maps of `gate`. Replaces existing pins.
    ///
    /// # Errors
    ///
    /// Returns an error if a pin cannot be created.
    pub fn pin_maps(&self, gate: &Gate) -> Result<()> {
        let new = self.dir.join("new");
        remove(&new)?;
        gate.leases.pin(&new)?;
        fs::rename(&new, self.dir.join(LEASES))?;
        gate.protected.pin(&new)?;
        fs::rename(&new, self.dir.join(PROTECTED))?;
        Ok(())
    }

    /// Removes all pinned links except `kept`, and all pins of other layout versions.
    pub fn keep_only(&self, kept: &[(u32, Mode)]) {
        for found in self.links() {
            let is_ours = found.path.starts_with(&self.dir);
            if !is_ours || !kept.contains(&(found.ifindex, found.mode)) {
                remove_or_warn(&found.path);
            }
        }
        for path in self.entries() {
            if !path.starts_with(&self.dir) {
                remove_or_warn(&path);
            }
        }
        for dir in self.versions() {
            if dir != self.dir {
                // Fails if other software keeps files there.
                let _ = fs::remove_dir(dir);
            }
        }
    }

    /// Removes all pins, and prints the detached interfaces and the ports that were protected.
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

    /// Removes all pins. Links that no other process holds are detached when this returns.
    pub fn remove(&self) {
        for link in self.links() {
            // The kernel releases a link synchronously when its last file descriptor is closed,
            // but asynchronously when its pin is removed.
            let held = link.open();
            remove_or_warn(&link.path);
            drop(held);
        }
        for path in self.entries() {
            remove_or_warn(&path);
        }
        for dir in self.versions() {
            let _ = fs::remove_dir(dir);
        }
        let _ = fs::remove_dir(&self.root);
    }

    fn link(&self, ifindex: u32, mode: Mode) -> PathBuf {
        self.dir.join(format!("{LINK}{ifindex}-{mode}"))
    }

    /// All pins of all layout versions.
    fn entries(&self) -> Vec<PathBuf> {
        self.versions().iter().flat_map(|dir| list(dir)).collect()
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

/// The name of the interface with this index, for messages.
fn interface(index: u32) -> String {
    let name = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )
    .and_then(|socket| index_to_name(&socket, index));
    name.unwrap_or_else(|_| format!("interface {index}, which no longer exists"))
}

fn list(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
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
