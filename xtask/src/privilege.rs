//! Root, where the kernel asks for it.

use std::{env, ffi::OsStr, process::Command};

/// `program` as root: as it is for root, with sudo for anybody else.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg("--");
    // sudo passes no environment on: this is what the tests look at.
    let passed = ["CI", "PATH", "PROPTEST_CASES", "RUST_BACKTRACE"];
    sudo.arg("env");
    for name in passed {
        if let Some(value) = env::var_os(name) {
            let mut assignment = std::ffi::OsString::from(name);
            assignment.push("=");
            assignment.push(value);
            sudo.arg(assignment);
        }
    }
    sudo.arg(program);
    sudo
}
