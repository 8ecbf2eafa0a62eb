//! The public interfaces of the crates for others. The file `public-api.txt` of each lists what is
//! public, one item a line, so that no change of it is made by accident.
//!
//! rustdoc describes an interface only with an unstable option, whose format changes. So this takes the
//! compiler of the eBPF programs, whose version is pinned.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use public_api::Builder;

use crate::{
    setup::{Tools, ebpf_cargo},
    workspace::{CLIENT, COMMON, Workspace, output, run},
};

/// What to do about a difference.
const RENEW: &str = "if that is meant, run `cargo xtask api`, review the files, and tell users in docs/changelog.md";

/// A crate for others.
#[derive(Debug)]
struct Interface {
    package: &'static str,
    /// The folder of the package, in the project.
    folder: &'static str,
    /// The features that others enable.
    features: &'static [&'static str],
    /// An item is for others if it names something below one of these paths.
    paths: &'static [&'static str],
}

/// What others test their implementations with. It is part of the package, as the documentation says.
const VECTORS: &str = "src/protocol/vectors.json";

const INTERFACES: &[Interface] = &[
    Interface {
        package: COMMON,
        folder: "knock-common",
        features: &["--features", "passphrase,protocol"],
        // The other modules are for the kernel and the daemon.
        paths: &[
            "knock_common::datagram",
            "knock_common::legible",
            "knock_common::protocol",
            "knock_common::window",
        ],
    },
    Interface {
        package: CLIENT,
        folder: "knock-user/client",
        features: &["--no-default-features"],
        paths: &["knock_client"],
    },
];

/// Compares each interface with its file.
///
/// # Errors
///
/// Returns an error that lists what is gone and what is new.
pub(crate) fn check(workspace: &Workspace, tools: &Tools) -> Result<()> {
    let mut list = workspace.cargo("package --list --allow-dirty --package");
    let files = output(list.arg(COMMON))?;
    ensure!(
        files.lines().any(|file| file == VECTORS),
        "the package {COMMON} lacks {VECTORS}"
    );
    let mut changes = String::new();
    for interface in INTERFACES {
        let path = interface.file(workspace);
        let agreed = fs::read_to_string(&path)
            .with_context(|| format!("{}: {RENEW}", workspace.relative(&path).display()))?;
        let current = interface.text(workspace, tools)?;
        changes += &differences(interface.package, &agreed, &current);
    }
    ensure!(
        changes.is_empty(),
        "public interfaces have changed:\n{changes}{RENEW}"
    );
    println!("{} public interfaces are unchanged", INTERFACES.len());
    Ok(())
}

/// Writes each interface to its file.
pub(crate) fn write(workspace: &Workspace, tools: &Tools) -> Result<()> {
    for interface in INTERFACES {
        fs::write(interface.file(workspace), interface.text(workspace, tools)?)?;
    }
    Ok(())
}

impl Interface {
    fn file(&self, workspace: &Workspace) -> PathBuf {
        workspace.root.join(self.folder).join("public-api.txt")
    }

    /// What is public, one item a line.
    fn text(&self, workspace: &Workspace, tools: &Tools) -> Result<String> {
        let folder = workspace.tools().join("public-api");
        let mut rustdoc = ebpf_cargo(workspace, tools)?;
        rustdoc.args(["rustdoc", "--quiet", "--locked", "--lib"]);
        rustdoc.args(["--package", self.package]);
        rustdoc.args(self.features).arg("--target-dir").arg(&folder);
        rustdoc.args(["--", "-Z", "unstable-options", "--output-format", "json"]);
        // Debian's compiler has no unstable options without it.
        run(rustdoc.env("RUSTC_BOOTSTRAP", "1"))?;
        let name = self.package.replace('-', "_") + ".json";
        let api = Builder::from_rustdoc_json(folder.join("doc").join(name))
            .omit_blanket_impls(true)
            .omit_auto_trait_impls(true)
            .omit_auto_derived_impls(true)
            .build()?;
        let items = api.items().map(ToString::to_string);
        let items = items.filter(|item| self.paths.iter().any(|path| item.contains(path)));
        Ok(items.map(|item| item + "\n").collect())
    }
}

/// The lines that only one of two texts has.
fn differences(package: &str, agreed: &str, current: &str) -> String {
    let [agreed, current] = [agreed, current].map(|text| text.lines().collect::<BTreeSet<_>>());
    let gone = agreed.difference(&current).map(|line| ('-', line));
    let new = current.difference(&agreed).map(|line| ('+', line));
    gone.chain(new)
        .map(|(sign, line)| format!("  {package}: {sign} {line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_is_new_is_listed() {
        assert_eq!(differences("p", "a\nb\n", "b\na\n"), "");
        assert_eq!(differences("p", "a\nb\n", "b\nc\n"), "  p: - a\n  p: + c\n");
    }
}
