//! Commands that need root.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::Command,
};

use anyhow::{Result, ensure};

use crate::workspace::is_installed;

/// `program` as root: directly if the caller is root, otherwise with sudo.
///
/// # Errors
///
/// Returns an error if there is no sudo.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    let program = program.as_ref();
    if rustix::process::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    ensure!(
        is_installed("sudo"),
        "{} has to run as root, and there is no sudo here: install sudo, or call this as root",
        program.display()
    );
    let mut sudo = Command::new("sudo");
    sudo.args(["--", "env"]);
    // sudo clears the environment; the tests use these.
    for name in ["CI", "PROPTEST_CASES", "RUST_BACKTRACE"] {
        if let Some(value) = env::var_os(name) {
            sudo.arg(assignment(name, &value));
        }
    }
    // The PATH of a user may lack the folders of root's programs.
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    sudo.arg(assignment("PATH", &env::join_paths(folders)?));
    sudo.arg(program);
    Ok(sudo)
}

fn assignment(name: &str, value: &OsStr) -> OsString {
    let mut assignment = OsString::from(name);
    assignment.push("=");
    assignment.push(value);
    assignment
}
