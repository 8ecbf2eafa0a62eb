//! The fleet process, which runs beside the listener if `[fleet]` is configured. It is connected to the
//! engine for the listener, over a channel that is created for each fleet process.

use std::{os::fd::OwnedFd, process::Stdio};

use anyhow::{Context as _, Result};
use knockd_config::{Config, Fleet};
use knockd_ipc::fleet::{FLEET_NAME, MAX_STARTUP, Startup};
use knockd_runtime::log;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair, sockopt};
use tokio::process::Child as Process;
use zeroize::Zeroizing;

use crate::{child, helper_process::HelperProcess};

/// The process that is connected to the engine.
#[derive(Debug)]
pub(crate) struct FleetProcess {
    pub(crate) process: HelperProcess,
}

impl FleetProcess {
    /// A process that was not started.
    pub(crate) fn new() -> Self {
        Self {
            process: HelperProcess::new(
                "the fleet process",
                "knocks are handled as `fleet.when_unreachable` says, and open doors close in time",
            ),
        }
    }

    /// Starts a process in place of the previous one. Returns the listener's end of the channel, or
    /// `None` without `[fleet]`.
    pub(crate) fn start(&mut self, config: &Config) -> Option<OwnedFd> {
        let fleet = config.fleet.as_ref()?;
        self.process.start(|| spawn(fleet, config))
    }
}

/// Starts a process that connects to the engine of `fleet`. Returns it with the listener's end of its
/// channel.
fn spawn(fleet: &Fleet, config: &Config) -> Result<(Process, OwnedFd)> {
    let account = child::account(config)?;
    let (process_end, listener_end) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    // The process reads this before anything of the listener.
    let startup = Startup {
        log: log::chosen(),
        engine: fleet.engine.clone(),
        patience: fleet.patience,
    };
    let startup = Zeroizing::new(serde_json::to_vec(&startup)?);
    // The kernel counts twice as much as the content (socket(7), "SO_SNDBUF").
    sockopt::set_socket_send_buffer_size(&listener_end, 2 * MAX_STARTUP)?;
    send(&listener_end, &startup, SendFlags::NOSIGNAL)
        .context("the certificates of [fleet] are too long for one message")?;
    // The process finds its root there.
    let stdout = Stdio::null();
    let process = child::spawn(FLEET_NAME, process_end, stdout, account.as_ref())?;
    Ok((process, listener_end))
}
