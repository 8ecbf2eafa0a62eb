//! Import circles: files of one crate each of which names items of the next, and so back to the
//! first. None of them can be understood, tested or moved without the others.
//!
//! An edge leads from the file that names an item to the file that defines it, through
//! re-exports. `mod x;` is no edge, nor is a re-export of a module's own children, which only says
//! where their items are found; nor is anything in tests.

mod attributes;
mod circles;
mod module;
mod modules;
mod paths;
mod resolve;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use cargo_metadata::TargetKind;

use self::{
    modules::Tree,
    resolve::{Target, resolve},
};
use crate::workspace::Workspace;

/// The names by which one file depends on another.
type Edges = BTreeMap<(PathBuf, PathBuf), BTreeSet<String>>;

/// Checks every library and program of the workspace.
///
/// # Errors
///
/// Returns an error that lists each circle.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut report = String::new();
    let mut checked = 0;
    for package in workspace.metadata()?.workspace_packages() {
        for target in &package.targets {
            let is_program = |kind: &TargetKind| {
                matches!(
                    kind,
                    TargetKind::Lib | TargetKind::Bin | TargetKind::Example
                )
            };
            if target.kind.iter().any(is_program) {
                checked += 1;
                let edges = edges(&Tree::load(target.src_path.as_std_path())?);
                report.push_str(&describe(&package.name, &edges, workspace));
            }
        }
    }
    ensure!(report.is_empty(), "import circles:\n{report}");
    println!("no import circle in {checked} crates");
    Ok(())
}

/// Which file of `tree` names items of which other file.
fn edges(tree: &Tree) -> Edges {
    let mut edges = Edges::new();
    for (id, module) in tree.modules.iter().enumerate() {
        let paths = module.paths.iter().map(|path| (path, false));
        let exports = module.exports.iter().map(|path| (path, true));
        for (path, is_export) in paths.chain(exports) {
            let Some(Target::Item(definer, name)) = resolve(tree, id, path) else {
                continue;
            };
            let file = &tree.modules[definer].file;
            if *file != module.file && !(is_export && tree.is_within(definer, id)) {
                let names = edges.entry((module.file.clone(), file.clone()));
                names.or_default().insert(name);
            }
        }
    }
    edges
}

fn circles_of(edges: &Edges) -> Vec<BTreeSet<&Path>> {
    let mut graph: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for (from, to) in edges.keys() {
        graph.entry(from).or_default().insert(to);
    }
    circles::circles(&graph)
}

fn describe(package: &str, edges: &Edges, workspace: &Workspace) -> String {
    let mut text = String::new();
    for circle in circles_of(edges) {
        let _ = writeln!(text, "{package}: {} files", circle.len());
        for ((from, to), names) in edges {
            if circle.contains(from.as_path()) && circle.contains(to.as_path()) {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                let _ = writeln!(
                    text,
                    "  {} -> {}: {}",
                    workspace.relative(from).display(),
                    workspace.relative(to).display(),
                    names.join(", ")
                );
            }
        }
    }
    text
}
