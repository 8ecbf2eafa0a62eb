//! The package for distributions with rpm, which rpmbuild makes of the static tarball.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::edition::Edition;
use crate::{
    reproducible,
    workspace::{output, run},
};

/// The architectures that it is made for.
pub(super) const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// The template of its description.
pub(super) const SPEC: &str = "rpm/knockd-xdp.spec";

/// Makes the package for `arch` of the files in `tarball`, and moves it to `to`. `scratch` is a folder
/// for its work.
pub(super) fn build(
    tarball: &Path,
    spec: &str,
    arch: &str,
    edition: &Edition,
    scratch: &Path,
    to: &Path,
) -> Result<()> {
    let tree = scratch.join("tree");
    let work = scratch.join("rpm");
    fs::create_dir_all(&tree)?;
    fs::create_dir_all(&work)?;
    run(Command::new("tar")
        .args(["--extract", "--directory"])
        .arg(&tree)
        .arg("--file")
        .arg(tarball))?;
    let path = work.join("knockd-xdp.spec");
    fs::write(&path, spec)?;
    let mut rpmbuild = Command::new("rpmbuild");
    rpmbuild.args(["-bb", "--quiet", "--target"]);
    rpmbuild.arg(format!("{arch}-linux"));
    for (name, value) in [
        ("_topdir", work.display().to_string()),
        ("tree", tree.display().to_string()),
        ("list", work.join("list").display().to_string()),
        ("_buildhost", "reproducible".to_owned()),
        ("use_source_date_epoch_as_buildtime", "1".to_owned()),
        ("clamp_mtime_to_source_date_epoch", "1".to_owned()),
        ("_binary_payload", "w19.zstdio".to_owned()),
    ] {
        rpmbuild.arg("--define").arg(format!("{name} {value}"));
    }
    reproducible::at(&mut rpmbuild, &edition.epoch);
    output(rpmbuild.arg(&path))?;
    let name = format!("knockd-xdp-{}-1.{arch}.rpm", edition.version);
    let made = work.join("RPMS").join(arch).join(&name);
    fs::copy(&made, to.join(&name)).with_context(|| format!("rpmbuild has not made {name}"))?;
    Ok(())
}
