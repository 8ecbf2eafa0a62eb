//! The checks that take less than a minute once everything is built, for while one works.

use std::path::Path;

use anyhow::Result;
use cargo_metadata::{Metadata, Package};

use crate::{
    boundaries,
    changes::{Place, changed_packages},
    imports,
    steps::Steps,
    workspace::{BENCH, TESTS, Workspace, run},
};

/// Checks format and structure, runs the lints, and the unit tests of the packages that have
/// changed, or of all. cargo itself knows which packages to lint again: those that have changed
/// and their dependents.
pub(crate) fn check(workspace: &Workspace, all: bool) -> Result<()> {
    let steps = Steps::new();
    steps.run("format", || run(&mut workspace.cargo("fmt --all --check")))?;
    steps.run("import circles", || imports::check(workspace))?;
    steps.run("dependencies between crates", || {
        boundaries::check(workspace)
    })?;
    steps.run("lints", || {
        run(&mut workspace.cargo("clippy --quiet --workspace --all-targets -- -D warnings"))
    })?;
    steps.run("unit tests", || unit_tests(workspace, all))?;
    steps.print();
    Ok(())
}

fn unit_tests(workspace: &Workspace, all: bool) -> Result<()> {
    let metadata = workspace.metadata()?;
    let places = places(&metadata);
    let wanted = match all {
        true => places.into_iter().map(|place| place.package).collect(),
        false => changed_packages(workspace, &places)?,
    };
    let tested: Vec<_> = metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| wanted.contains(package.name.as_str()) && has_unit_tests(package))
        .collect();
    if tested.is_empty() {
        println!("no package with unit tests has changed");
        return Ok(());
    }
    let mut test = workspace.cargo("test --quiet --all-features --bins");
    // cargo refuses `--lib` where there is none.
    let has_library =
        |package: &&Package| package.targets.iter().any(cargo_metadata::Target::is_lib);
    if tested.iter().any(has_library) {
        test.arg("--lib");
    }
    for package in tested {
        println!("{}", package.name);
        test.args(["--package", &package.name]);
    }
    run(&mut test)
}

/// These need root and a kernel: `cargo xtask test` runs them.
fn has_unit_tests(package: &Package) -> bool {
    ![TESTS, BENCH].contains(&package.name.as_str())
}

fn places(metadata: &Metadata) -> Vec<Place> {
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let folder = package.manifest_path.parent().map(Path::new);
            let folder = folder.unwrap_or(Path::new(""));
            Place {
                package: package.name.to_string(),
                folder: folder
                    .strip_prefix(&metadata.workspace_root)
                    .unwrap_or(folder)
                    .to_owned(),
            }
        })
        .collect()
}
