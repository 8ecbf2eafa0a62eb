//! ansible-core for the test of the role in docs/examples, from Python's registry.

use anyhow::Result;

use crate::{
    ci,
    python::{self, Programs},
    workspace::Workspace,
};

/// What the names of the tests begin with.
pub(crate) const TESTS: &str = "ansible::";

/// In the folder `ansible` of the tools, where the tests look for it.
const ANSIBLE: Programs = Programs {
    name: "ansible",
    requirements: include_str!("ansible.txt"),
    since: (3, 11),
};

/// Installs ansible-core. Returns whether it is there.
///
/// # Errors
///
/// Returns an error if it cannot be installed and `CI` is set in the environment.
pub(crate) fn provide(workspace: &Workspace) -> Result<bool> {
    let installed = python::install(workspace, &ANSIBLE);
    Ok(ci::or_skip("the role for Ansible", installed)?.is_some())
}
