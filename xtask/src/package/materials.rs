//! Bills of materials: of which packages a program is built, in CycloneDX 1.5
//! (<https://cyclonedx.org/docs/1.5/json/>).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, Node, Package, PackageId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    targets::Target,
    workspace::{Workspace, output},
};

/// Name and version: within one lock file they are unique.
type Key = (String, String);

/// The part of `Cargo.lock` that is used here.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The bill of materials of the workspace's package `name`, as it is built for this platform or for
/// `target`.
pub(super) fn bill(workspace: &Workspace, name: &str, target: Option<Target>) -> Result<String> {
    let metadata = workspace.metadata()?;
    let mut tree = workspace.cargo("tree --quiet --edges normal --prefix none --format {p}");
    if let Some(target) = target {
        tree.args(["--target", target.triple()]);
    }
    let parts = keys(&output(tree.args(["--package", name]))?);
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock"))?;
    let lock: Lock = toml::from_str(&lock).context("Cargo.lock")?;
    let sums = lock
        .package
        .into_iter()
        .filter_map(|locked| Some(((locked.name, locked.version), locked.checksum?)))
        .collect();
    let bill = describe(&metadata, name, &parts, &sums)?;
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// The packages in the output of `cargo tree`: lines like `name v1.2.3 (features)`.
fn keys(tree: &str) -> BTreeSet<Key> {
    tree.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?.to_owned();
            Some((name, words.next()?.strip_prefix('v')?.to_owned()))
        })
        .collect()
}

fn key(package: &Package) -> Key {
    (package.name.to_string(), package.version.to_string())
}

fn describe(
    metadata: &Metadata,
    name: &str,
    parts: &BTreeSet<Key>,
    sums: &BTreeMap<Key, String>,
) -> Result<Value> {
    let packages: BTreeMap<&PackageId, &Package> = metadata
        .packages
        .iter()
        .filter(|package| parts.contains(&key(package)))
        .map(|package| (&package.id, package))
        .collect();
    let (roots, others): (Vec<_>, Vec<_>) = packages
        .values()
        .copied()
        .partition(|package| package.name.as_str() == name);
    let root = roots.first().context("cargo does not list the package")?;
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let dependencies: Vec<_> = nodes
        .filter_map(|node| Some(links(node, packages.get(&node.id)?, &packages)))
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(root, "application", sums) },
        "components": others
            .iter()
            .map(|package| component(package, "library", sums))
            .collect::<Vec<_>>(),
        "dependencies": dependencies,
    }))
}

fn component(package: &Package, kind: &str, sums: &BTreeMap<Key, String>) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(package),
        "name": package.name,
        "version": package.version,
        "purl": reference(package),
    });
    if let Some(description) = &package.description {
        component["description"] = description.trim().into();
    }
    if let Some(licence) = &package.license {
        // An older form of `OR`.
        let expression = licence.replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    if let Some(sum) = sums.get(&key(package)) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

fn links(node: &Node, package: &Package, packages: &BTreeMap<&PackageId, &Package>) -> Value {
    let is_normal = |dependency: &&cargo_metadata::NodeDep| {
        let mut kinds = dependency.dep_kinds.iter();
        kinds.any(|kind| kind.kind == DependencyKind::Normal)
    };
    let on: BTreeSet<_> = node
        .deps
        .iter()
        .filter(is_normal)
        .filter_map(|dependency| packages.get(&dependency.pkg))
        .map(|package| reference(package))
        .collect();
    json!({ "ref": reference(package), "dependsOn": on })
}

/// See <https://github.com/package-url/purl-spec>.
fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_tree_are_read() {
        let tree = "knock-user v0.1.0 (/knockd/knock-user)\naes v0.9.4\nserde v1.0.229 (*)\n\n";
        let keys: Vec<_> = keys(tree)
            .into_iter()
            .map(|key| key.0 + " " + &key.1)
            .collect();
        assert_eq!(keys, ["aes 0.9.4", "knock-user 0.1.0", "serde 1.0.229"]);
    }

    #[test]
    fn a_bill_lists_each_dependency_with_its_licence_and_checksum() {
        let workspace = Workspace::find().unwrap();
        let bill: Value = serde_json::from_str(&bill(&workspace, "xtask", None).unwrap()).unwrap();
        assert_eq!(bill["metadata"]["component"]["name"], "xtask");
        let parts = bill["components"].as_array().unwrap();
        let part = |name: &str| parts.iter().find(|part| part["name"] == name).unwrap();
        let anyhow = part("anyhow");
        assert_eq!(anyhow["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(anyhow["hashes"][0]["content"].as_str().unwrap().len(), 64);
        assert!(part("knock-common")["hashes"].is_null());
        let links = bill["dependencies"].as_array().unwrap();
        let links = links.iter().find(|link| link["ref"] == anyhow["bom-ref"]);
        assert!(links.unwrap()["dependsOn"].is_array());
    }
}
