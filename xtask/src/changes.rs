//! Which packages a change concerns.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::workspace::{Workspace, output};

/// The branches from which work may have started, best first.
const BASES: [&str; 3] = ["@{upstream}", "origin/main", "main"];

/// What concerns every package.
const SHARED: [&str; 4] = ["Cargo.toml", "Cargo.lock", ".clippy.toml", ".cargo"];

/// The folder of a package in the workspace, relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) package: String,
    pub(crate) folder: PathBuf,
}

/// The names of the packages that have changed since work started here: in commits, in the work
/// tree, and by files that git does not know yet.
///
/// # Errors
///
/// Returns an error if this is no clone or git fails.
pub(crate) fn changed_packages(
    workspace: &Workspace,
    places: &[Place],
) -> Result<BTreeSet<String>> {
    let mut diff = workspace.command("git");
    diff.args(["diff", "--name-only", "--no-renames", &base(workspace)?]);
    let mut untracked = workspace.command("git");
    untracked.args(["ls-files", "--others", "--exclude-standard"]);
    let files = output(&mut diff)? + &output(&mut untracked)?;
    Ok(packages_of(files.lines().map(Path::new), places))
}

/// The commit that this work started from, or the last commit if that cannot be known.
fn base(workspace: &Workspace) -> Result<String> {
    for branch in BASES {
        let mut base = workspace.command("git");
        base.args(["merge-base", "HEAD", branch]);
        if let Ok(base) = output(&mut base) {
            return Ok(base.trim().to_owned());
        }
    }
    let mut head = workspace.command("git");
    Ok(output(head.args(["rev-parse", "HEAD"]))?.trim().to_owned())
}

fn packages_of<'a>(
    files: impl IntoIterator<Item = &'a Path>,
    places: &[Place],
) -> BTreeSet<String> {
    let mut packages = BTreeSet::new();
    for file in files {
        if SHARED.iter().any(|shared| file.starts_with(shared)) {
            return places.iter().map(|place| place.package.clone()).collect();
        }
        // A package may be within the folder of another one.
        let place = places
            .iter()
            .filter(|place| file.starts_with(&place.folder))
            .max_by_key(|place| place.folder.components().count());
        packages.extend(place.map(|place| place.package.clone()));
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(files: &[&str]) -> Vec<String> {
        let places = [("outer", "outer"), ("inner", "outer/inner"), ("x", "x")];
        let places = places.map(|(package, folder)| Place {
            package: package.to_owned(),
            folder: folder.into(),
        });
        packages_of(files.iter().map(Path::new), &places)
            .into_iter()
            .collect()
    }

    #[test]
    fn a_file_belongs_to_the_innermost_package() {
        assert_eq!(packages(&["outer/inner/src/lib.rs"]), ["inner"]);
        assert_eq!(packages(&["outer/src/lib.rs", "outer/a"]), ["outer"]);
    }

    #[test]
    fn a_file_outside_of_all_packages_concerns_none() {
        assert!(packages(&["README.md", "docs/x.md"]).is_empty());
    }

    #[test]
    fn the_manifest_of_the_workspace_concerns_all() {
        assert_eq!(packages(&["x/a", "Cargo.lock"]), ["inner", "outer", "x"]);
        assert_eq!(packages(&["x/Cargo.toml"]), ["x"]);
    }
}
