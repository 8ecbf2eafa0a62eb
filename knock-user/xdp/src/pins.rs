//! Pins the attached program and its leases in a bpf filesystem, so that they outlive the daemon.
//!
//! ```text
//! /sys/fs/bpf/knockd/             locked by the knockd that uses it
//!     owner                       a symbolic link, whose target says whose pins they are
//!     v1/                         layout version 1
//!         link-3-native           the link of the interface with index 3
//!         filter-4                a directory: the interface with index 4 has a tc filter
//!         leases                  the program's map LEASES
//!         protected               the program's map PROTECTED
//! ```
//!
//! Containers can share a bpf filesystem. A knockd therefore claims the directory before it uses the
//! pins, and leaves those of another one alone.
//!
//! At its start, the daemon loads a program with new maps, copies the leases, atomically replaces
//! the old program in each link, and only then renames the new maps over the old ones. Whenever
//! it is killed, a program with the current leases stays in force.

mod lock;
mod owner;
mod unclaimed;

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    maps::{Map, MapData},
    programs::links::{FdLink, PinnedLink},
};
use knock_common::gate::LAYOUT_VERSION;
use knockd_types::{interface::Interface, rules::BPFFS, status::Mode};
use rustix::{
    fs::{FsWord, statfs},
    mount::{MountFlags, mount},
};
use tracing::{info, warn};

use self::lock::{Lock, Locked, lock};
pub use self::{owner::Owner, unclaimed::Unclaimed};
use crate::{
    defunct::is_defunct,
    interfaces,
    leases::Gate,
    tc::{self, Filter},
};

/// `BPF_FS_MAGIC` of linux/magic.h.
#[cfg(target_pointer_width = "64")]
const BPFFS_MAGIC: FsWord = 0xcafe_4a11;
#[cfg(target_pointer_width = "32")]
const BPFFS_MAGIC: FsWord = 0xcafe_4a11_u32.cast_signed();

const LEASES: &str = "leases";
const PROTECTED: &str = "protected";
const LINK: &str = "link-";
const FILTER: &str = "filter-";

/// The directory of the pinned objects.
#[derive(Debug)]
pub struct PinDir {
    /// `pin_dir` of the configuration.
    root: PathBuf,
    /// The subdirectory of the current layout version.
    dir: PathBuf,
    /// Held if they are claimed.
    lock: Option<Lock>,
    /// Whether the gate of another knockd was removed when they were claimed.
    removed_foreign: bool,
}

/// A pinned link.
#[derive(Debug)]
pub struct Found {
    /// The interface's index.
    pub ifindex: u32,
    /// How it is attached.
    pub mode: Mode,
    is_filter: bool,
    path: PathBuf,
}

/// What keeps a program attached without this process.
#[derive(Debug)]
pub(crate) enum Pinned {
    /// A link, by its pin.
    Link(PinnedLink),
    /// A filter, which the kernel keeps. The pin is a mark that it is there.
    Filter(Filter),
}

impl Found {
    /// Opens the link.
    ///
    /// # Errors
    ///
    /// Returns an error if the pin does not exist or is not a link.
    pub(crate) fn open(&self) -> Result<Pinned> {
        if self.is_filter {
            return Ok(Pinned::Filter(Filter(self.ifindex)));
        }
        Ok(Pinned::Link(PinnedLink::from_pin(&self.path)?))
    }
}

impl Found {
    /// Removes the pin and detaches the program, unless another process holds the link.
    fn remove(&self) {
        // The kernel releases a link synchronously when its last file descriptor is closed, but
        // asynchronously when its pin is removed.
        let held = self.open();
        remove_or_warn(&self.path);
        if let Ok(Pinned::Filter(filter)) = held {
            filter.remove();
        }
    }
}

impl PinDir {
    /// The pins in the directory `root`, which need not exist.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            dir: root.join(format!("v{LAYOUT_VERSION}")),
            lock: None,
            removed_foreign: false,
        }
    }

    /// The pins in the directory `root`, which need not exist, for the sole use of `owner`. They are
    /// released when the value is dropped. Removes what another knockd has left there if its
    /// interfaces no longer exist, or if `take_over` is set.
    ///
    /// # Errors
    ///
    /// Returns [`Unclaimed`] if another knockd uses them, or if they keep its gate in force.
    pub fn claim(root: &Path, owner: &Owner, take_over: bool) -> Result<Self, Unclaimed> {
        let mut pins = Self::at(root);
        let root = || root.display().to_string();
        let described = |found: Option<&Owner>| {
            found.map_or_else(|| "unknown".into(), |found| found.described(owner))
        };
        pins.lock = match lock(&pins.root) {
            Ok(Locked::Ours(lock)) => Some(lock),
            Ok(Locked::Missing) => None,
            Ok(Locked::Taken) => {
                return Err(Unclaimed::InUse {
                    root: root(),
                    owner: described(Owner::of(&pins.root).as_ref()),
                });
            }
            Err(error) => {
                return Err(Unclaimed::Unlockable {
                    root: root(),
                    error,
                });
            }
        };
        // After the lock: nobody else changes the record now.
        let Some(found) = Owner::of(&pins.root) else {
            // A knockd without such records has left them. To refuse them would leave its gate closed
            // to everybody after an upgrade.
            return Ok(pins);
        };
        if found.is_same(owner) || pins.is_empty() {
            return Ok(pins);
        }
        let described = described(Some(&found));
        if !take_over && !pins.are_defunct() {
            return Err(Unclaimed::Foreign {
                root: root(),
                owner: described,
            });
        }
        warn!("taking over the pins in {} ({described})", root());
        // A link in this network namespace is reused, so that the gate there has no gap.
        if !found.shares_network(owner) {
            pins.remove_foreign();
            pins.removed_foreign = true;
        }
        Ok(pins)
    }

    /// Records that the pins are those of `owner`. They must be claimed, and
    /// [prepared](Self::prepare).
    ///
    /// # Errors
    ///
    /// Returns an error if the record cannot be written.
    pub fn record(&self, owner: &Owner) -> Result<()> {
        owner
            .record(&self.root)
            .with_context(|| format!("the owner of {} cannot be recorded", self.root.display()))
    }

    /// Whether there are pinned links, and none of them is attached: their interfaces no longer exist.
    /// A filter may always be in force, and without a link a knockd may wait for its interface.
    fn are_defunct(&self) -> bool {
        let links = self.links();
        let mut all = links.iter();
        !links.is_empty()
            && all.all(|link| match link.open() {
                Ok(Pinned::Link(link)) => is_defunct(link).unwrap_or(false),
                Ok(Pinned::Filter(_)) | Err(_) => false,
            })
    }

    /// Removes the pins of a knockd in another network namespace. Its filters stay in force there: only
    /// their marks are removed, since an interface here may have the same index.
    fn remove_foreign(&self) {
        for link in self.links() {
            if !link.is_filter {
                link.remove();
            }
        }
        for path in self.entries() {
            remove_or_warn(&path);
        }
        Owner::forget(&self.root);
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
                let name = path.file_name()?.to_str()?;
                if let Some(ifindex) = name.strip_prefix(FILTER) {
                    return Some(Found {
                        ifindex: ifindex.parse().ok()?,
                        mode: Mode::Tc,
                        is_filter: true,
                        path,
                    });
                }
                let (ifindex, mode) = name.strip_prefix(LINK)?.split_once('-')?;
                Some(Found {
                    ifindex: ifindex.parse().ok()?,
                    mode: Mode::from_name(mode)?,
                    is_filter: false,
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

    /// Marks that the interface has a tc filter, which the kernel keeps in force by itself.
    ///
    /// # Errors
    ///
    /// Returns an error if the mark cannot be created.
    pub(crate) fn mark_filter(&self, ifindex: u32) -> io::Result<()> {
        match fs::create_dir(self.filter(ifindex)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the pinned link of an interface, or the mark of its filter.
    pub fn remove_link(&self, ifindex: u32, mode: Mode) {
        remove_or_warn(&self.link(ifindex, mode));
        if mode == Mode::Tc {
            remove_or_warn(&self.filter(ifindex));
        }
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

    /// Removes all pinned links except `kept` and those of the interfaces `untouched`, and all pins of
    /// other layout versions.
    pub fn keep_only(&self, kept: &[(u32, Mode)], untouched: &[u32]) {
        let (stay, go): (Vec<_>, Vec<_>) = self.links().into_iter().partition(|found| {
            let is_ours = found.path.starts_with(&self.dir);
            (is_ours && kept.contains(&(found.ifindex, found.mode)))
                || untouched.contains(&found.ifindex)
        });
        for found in go {
            found.remove();
        }
        for path in self.entries() {
            if !path.starts_with(&self.dir) && stay.iter().all(|found| found.path != path) {
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

    /// Removes all pins, and tells `out` the detached interfaces and the ports that were protected.
    ///
    /// # Errors
    ///
    /// Returns an error if a driver refuses to give the program up, or if `out` fails after everything
    /// was removed.
    pub fn detach(&self, out: &mut dyn io::Write) -> Result<()> {
        let ports = self.gate(Duration::ZERO).map(|gate| gate.protected());
        let ports: Vec<_> = ports.iter().flatten().map(ToString::to_string).collect();
        let links = self.links();
        self.remove();
        let stuck = stuck(&links)?;
        for link in &links {
            if !stuck.iter().any(|one| one.index == link.ifindex) {
                writeln!(out, "detached from {}", interface(link.ifindex))?;
            }
        }
        if !stuck.is_empty() {
            let names: Vec<_> = stuck.iter().map(|one| one.name.as_str()).collect();
            bail!(
                "the driver of {} refuses to give the program up, which still protects the ports (the kernel log may say why): set its MTU to 1500 with `ip link set dev {} mtu 1500` and then run `ip link set dev {} xdp off`, or reboot",
                names.join(", "),
                names[0],
                names[0]
            );
        }
        if links.is_empty() && self.removed_foreign {
            writeln!(out, "the gate of another knockd is removed")?;
        } else if links.is_empty() {
            writeln!(out, "nothing was attached")?;
        } else if !ports.is_empty() {
            writeln!(out, "no longer protected: {}", ports.join(", "))?;
        }
        Ok(())
    }

    /// Removes all pins. Links that no other process holds are detached when this returns.
    pub fn remove(&self) {
        for link in self.links() {
            link.remove();
        }
        for path in self.entries() {
            remove_or_warn(&path);
        }
        for dir in self.versions() {
            let _ = fs::remove_dir(dir);
        }
        Owner::forget(&self.root);
        let _ = fs::remove_dir(&self.root);
    }

    fn link(&self, ifindex: u32, mode: Mode) -> PathBuf {
        self.dir.join(format!("{LINK}{ifindex}-{mode}"))
    }

    fn filter(&self, ifindex: u32) -> PathBuf {
        self.dir.join(format!("{FILTER}{ifindex}"))
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

/// How long the kernel may take to release a link after its pin was removed.
const RELEASE: Duration = Duration::from_secs(2);

/// The interfaces that still have the XDP program of one of the removed `links` after some time.
fn stuck(links: &[Found]) -> Result<Vec<Interface>> {
    let is_stuck = |interface: &Interface| {
        let had_ours = |link: &Found| link.mode != Mode::Tc && link.ifindex == interface.index;
        links.iter().any(had_ours) && interface.program.is_some()
    };
    let begun = Instant::now();
    loop {
        let mut stuck = interfaces::list()?;
        stuck.retain(is_stuck);
        if stuck.is_empty() || begun.elapsed() > RELEASE {
            return Ok(stuck);
        }
        thread::sleep(RELEASE / 100);
    }
}

/// The name of the interface with this index, for messages.
fn interface(index: u32) -> String {
    tc::name(index).unwrap_or_else(|_| format!("interface {index}, which no longer exists"))
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
    let removed = if path.is_dir() {
        fs::remove_dir(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_or_warn(path: &Path) {
    if let Err(error) = remove(path) {
        warn!("{} cannot be removed: {error}", path.display());
    }
}
