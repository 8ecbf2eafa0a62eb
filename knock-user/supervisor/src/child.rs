//! Starts and stops the unprivileged child processes.

use std::{env, os::fd::OwnedFd, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use knockd_config::Config;
use knockd_runtime::{account, role};
use knockd_types::account::Account;
use rustix::process::geteuid;
use tokio::{
    process::{Child as Process, Command},
    time::timeout,
};
use tracing::warn;

/// The variables of the environment that a child inherits: those that select the log format.
const LOG_ENVIRONMENT: [&str; 2] = ["NO_COLOR", "JOURNAL_STREAM"];

/// Of a build that measures coverage: the variable that names the file of its counters.
const COUNTERS: Option<&str> = if cfg!(coverage) {
    Some("LLVM_PROFILE_FILE")
} else {
    None
};

/// The time limit for the exit of a child.
pub(crate) const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// The account of the child processes; `None` if this process does not run as root.
///
/// # Errors
///
/// Returns an error if the account does not exist, or if something else uses it.
pub(crate) fn account(config: &Config) -> Result<Option<Account>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    account::unprivileged(config.user.as_ref()).map(Some)
}

/// Starts this program with `name` as `argv[0]`, which selects its role, and with `stdin` and
/// `stdout`. It changes to `account` itself; see [`role::begin`].
///
/// # Errors
///
/// Returns an error if the process cannot be started.
pub(crate) fn spawn(
    name: &str,
    stdin: OwnedFd,
    stdout: Stdio,
    account: Option<&Account>,
) -> Result<Process> {
    // Not by its path: an upgrade may have replaced the file.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(name)
        .stdin(Stdio::from(stdin))
        .stdout(stdout)
        .env_clear()
        .envs(
            LOG_ENVIRONMENT
                .iter()
                .chain(&COUNTERS)
                .filter_map(|name| Some((name, env::var_os(name)?))),
        )
        .current_dir("/")
        .kill_on_drop(true);
    if let Some(account) = account {
        command.envs([role::change_to(account)]);
    }
    command
        .spawn()
        .with_context(|| format!("{name} cannot be started"))
}

/// Waits for the exit of a child whose channel was closed, and kills it after [`EXIT_TIMEOUT`].
pub(crate) async fn wait_or_kill(role: &str, process: &mut Process) {
    if timeout(EXIT_TIMEOUT, process.wait()).await.is_err() {
        warn!("{role} does not exit: killing it");
        // Fails if this process may not send signals. Then the kernel kills the child when this
        // process exits (PR_SET_PDEATHSIG).
        let _ = process.kill().await;
    }
}

/// The exit status of a child that closed its channel, for the log.
pub(crate) async fn exit_status(process: &mut Process) -> String {
    match timeout(EXIT_TIMEOUT, process.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no exit status".into(),
    }
}
