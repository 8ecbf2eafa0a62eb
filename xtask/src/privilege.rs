//! Root, where the kernel asks for it.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::Command,
};

use anyhow::{Result, ensure};

use crate::workspace::is_installed;

/// `program` as root: as it is for root, with sudo for anybody else.
///
/// # Errors
///
/// There is no sudo.
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
    // sudo passes no environment on: this is what the tests look at.
    for name in ["CI", "PROPTEST_CASES", "RUST_BACKTRACE"] {
        if let Some(value) = env::var_os(name) {
            sudo.arg(assignment(name, &value));
        }
    }
    // A user's PATH may lack what only root needs.
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
