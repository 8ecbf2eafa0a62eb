//! Kernel modules with those that they need.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::workspace::{output, run};

/// What the checks use, as far as a kernel has it as a module.
const WANTED: &[&str] = &[
    // Links.
    "veth",
    "bonding",
    "vrf",
    "ipvlan",
    "macvlan",
    "8021q",
    "bridge",
    "dummy",
    "tun",
    "ppp_generic",
    "ipip",
    "ip_gre",
    "ppp_async",
    "ppp_synctty",
    "pppoe",
    "wireguard",
    "ifb",
    // Network cards.
    "virtio_net",
    "virtio_pci",
    "e1000",
    "e1000e",
    "igb",
    "e100",
    "8139cp",
    "8139too",
    "vmxnet3",
    "tulip",
    "pcnet32",
    "ne2k-pci",
    // tc and firewalls.
    "cls_bpf",
    "sch_ingress",
    "sch_netem",
    "act_bpf",
    "nf_tables",
    "nft_chain_nat",
];

/// The modules of a kernel, in a folder of unpacked packages.
#[derive(Debug)]
pub(super) struct Modules {
    /// The folder of the kernel's release, which contains `kernel`.
    folder: PathBuf,
    release: String,
}

impl Modules {
    /// Finds the modules in `packages`.
    pub(super) fn find(packages: &Path) -> Result<Self> {
        for place in ["lib/modules", "usr/lib/modules"] {
            let Ok(mut entries) = fs::read_dir(packages.join(place)) else {
                continue;
            };
            if let Some(entry) = entries.next() {
                let entry = entry?;
                return Ok(Self {
                    folder: entry.path(),
                    release: entry.file_name().to_string_lossy().into_owned(),
                });
            }
        }
        anyhow::bail!("no modules in {}", packages.display())
    }

    /// The kernel's release, as `uname -r` prints it.
    pub(super) fn release(&self) -> &str {
        &self.release
    }

    /// Copies the wanted modules into the root directory `root`, decompressed, with an index for
    /// `modprobe`.
    pub(super) fn install(&self, root: &Path) -> Result<()> {
        let base = self
            .folder
            .ancestors()
            .find(|path| path.ends_with("lib"))
            .and_then(Path::parent)
            .context("the modules are not in lib/modules")?;
        // depmod looks in `lib`.
        if !base.join("lib/modules").exists() {
            std::os::unix::fs::symlink("usr/lib", base.join("lib"))?;
        }
        self.index(base)?;
        let dependencies = fs::read_to_string(self.folder.join("modules.dep"))?;
        let place = root.join("lib/modules").join(&self.release);
        for module in closure(&dependencies, WANTED) {
            unpack(&self.folder.join(module), &place.join(plain_name(module)))?;
        }
        for list in ["modules.builtin", "modules.order"] {
            fs::copy(self.folder.join(list), place.join(list))
                .with_context(|| format!("the packages have no {list}"))?;
        }
        self.index(root)
    }

    fn index(&self, root: &Path) -> Result<()> {
        let mut depmod = Command::new("depmod");
        depmod.arg("--basedir").arg(root).arg(&self.release);
        // It warns of symbols of modules that are left out.
        output(&mut depmod).map(|_| ())
    }
}

/// The files of the modules `wanted` that `modules.dep` lists, and of those that they need.
fn closure<'a>(modules_dep: &'a str, wanted: &[&str]) -> BTreeSet<&'a str> {
    let lines = modules_dep.lines().filter_map(|line| line.split_once(':'));
    let needs: BTreeMap<_, _> = lines.collect();
    let mut files = BTreeSet::new();
    for (file, needed) in needs {
        if wanted.contains(&name(file)) {
            files.insert(file);
            // depmod lists what is needed indirectly, too.
            files.extend(needed.split_whitespace());
        }
    }
    files
}

/// The name of the module in `file`, with the hyphens that the file has.
fn name(file: &str) -> &str {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base)
}

/// The path of a decompressed module.
fn plain_name(file: &str) -> &str {
    file.find(".ko").map_or(file, |at| &file[..at + 3])
}

fn unpack(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.with_file_name(""))?;
    let program = match from.extension().and_then(|kind| kind.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => {
            fs::copy(from, to)?;
            return Ok(());
        }
    };
    let mut decompress = Command::new(program);
    decompress.args(["-d", "-c"]).stdin(File::open(from)?);
    run(decompress.stdout(File::create(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "kernel/drivers/net/veth.ko.xz:
kernel/drivers/net/virtio_net.ko.xz: kernel/net/core/failover.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/gpu/large.ko.xz: kernel/drivers/gpu/larger.ko.xz
kernel/drivers/net/ethernet/8390/ne2k-pci.ko: kernel/drivers/net/ethernet/8390/8390.ko
";

    #[test]
    fn a_module_comes_with_those_that_it_needs_and_no_other() {
        let files = closure(LIST, &["virtio_net", "veth", "absent"]);
        let names: BTreeSet<_> = files.iter().map(|file| name(file)).collect();
        assert_eq!(
            names,
            ["failover", "veth", "virtio", "virtio_net"]
                .into_iter()
                .collect()
        );
    }

    #[test]
    fn a_decompressed_module_has_a_plain_name() {
        assert_eq!(plain_name("kernel/net/a.ko.xz"), "kernel/net/a.ko");
        assert_eq!(plain_name("kernel/net/a.ko"), "kernel/net/a.ko");
    }
}
