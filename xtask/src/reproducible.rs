//! What makes two builds of one commit the same, byte for byte, in whatever folder they are made.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    targets::{Kind, Target},
    workspace::{Workspace, output},
};

/// See <https://reproducible-builds.org/specs/source-date-epoch/>.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The time of every file in an archive, in Unix seconds: `SOURCE_DATE_EPOCH`, or the time of the
/// commit.
///
/// # Errors
///
/// Returns an error if there is neither.
pub(crate) fn epoch(workspace: &Workspace) -> Result<String> {
    if let Ok(epoch) = env::var(SOURCE_DATE_EPOCH) {
        return Ok(epoch);
    }
    let mut log = workspace.command("git");
    let epoch = output(log.args(["log", "-1", "--format=%ct"])).context(
        "this is no clone: set SOURCE_DATE_EPOCH to the time of the source, in Unix seconds",
    )?;
    Ok(epoch.trim().to_owned())
}

/// Lets `command` write that time.
pub(crate) fn at(command: &mut Command, epoch: &str) {
    command.env(SOURCE_DATE_EPOCH, epoch);
}

/// Lets `cargo` build for `target` without a path of this machine in the programs.
///
/// # Errors
///
/// Returns an error if the user has no home.
pub(crate) fn without_paths(
    workspace: &Workspace,
    target: Target,
    cargo: &mut Command,
) -> Result<()> {
    let home = cargo_home()?;
    let places = [
        (workspace.target.as_path(), "/target"),
        (workspace.root.as_path(), "/knockd"),
        (home.as_path(), "/cargo"),
    ];
    // Symbols name object files, and those of a static program are larger than its code. Not in the
    // profile: the build of the XDP program, which needs its symbols, would inherit that.
    let mut flags = vec!["-Cstrip=symbols".to_owned()];
    let mut c_flags = Vec::new();
    for (place, name) in places {
        let place = place.display();
        flags.push(format!("--remap-path-prefix={place}={name}"));
        c_flags.push(format!("-ffile-prefix-map={place}={name}"));
    }
    if target.kind() == Kind::Windows {
        flags.push("-Clink-arg=-Wl,--no-insert-timestamp".to_owned());
    }
    // A space may be part of a path.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.env("TARGET_CFLAGS", c_flags.join(" "));
    Ok(())
}

/// Where cargo keeps the sources of other crates.
fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = env::var_os("HOME").context("HOME is not set")?;
    Ok(Path::new(&home).join(".cargo"))
}
