//! Licences, sources and advisories of everything that is built in.

use std::process::Stdio;

use anyhow::{Result, ensure};

use crate::{
    interrupt,
    tools::{self, CARGO_DENY},
    workspace::{Workspace, run},
};

/// Checks the rules in `.deny.toml`.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    tools::provide_cargo_deny(workspace)?;
    let deny = || {
        let mut deny = workspace.command(workspace.tools().join("bin").join(CARGO_DENY));
        deny.args(["--log-level", "error"]);
        deny.args(["--workspace", "--all-features", "check"]);
        deny
    };
    run(deny().args(["bans", "licenses", "sources"]))?;
    // The database of advisories comes over the network, which not every machine has.
    let mut advisories = deny();
    advisories.arg("advisories").stderr(Stdio::piped());
    let advisories = interrupt::wait(&mut advisories)?;
    let errors = String::from_utf8_lossy(&advisories.stderr);
    if errors.contains("failed to fetch advisory database") {
        println!("skipped: advisories, whose database cannot be fetched here");
        return Ok(());
    }
    ensure!(advisories.status.success(), "advisories:\n{errors}");
    Ok(())
}
