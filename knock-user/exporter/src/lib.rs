//! The metrics exporter: the unprivileged process `knockd-metrics`, which Prometheus scrapes.
//!
//! It owns the HTTP socket and one end of a [channel](knockd_ipc::metrics) to the listener. It
//! holds no keys, and no channel to the supervisor. Its standard input is the channel, and its
//! standard output the listening socket.

mod channel;
mod connections;
#[doc(hidden)]
pub mod fuzz;
mod histogram;
mod page;
mod server;

use std::{
    io,
    os::{fd::AsFd as _, unix::net::UnixStream as StdUnixStream},
};

use anyhow::{Context as _, Result};
pub use knockd_ipc::metrics::EXPORTER_NAME as NAME;
use knockd_runtime::{log, role, sandbox::Sandbox};
use tokio::{
    net::{TcpListener, UnixStream},
    sync::mpsc,
};

use self::{connections::MAX_CONNECTIONS, server::Server};

/// Runs the exporter until the listener closes the channel.
///
/// # Errors
///
/// Returns an error if the supervisor did not start this process, if the sandbox cannot be
/// entered, or if the channel breaks.
pub fn main() -> Result<()> {
    role::begin(c"knockd-metrics")?;
    let mut channel = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let choice = channel::read_log_choice(&mut channel)
        .context("this is the metrics exporter of knockd, which knockd starts by itself")?;
    log::init_like(&choice);
    channel.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        role::ignore_signals()?;
        let channel = UnixStream::from_std(channel)?;
        let socket = io::stdout().as_fd().try_clone_to_owned()?;
        let listener = TcpListener::from_std(socket.into())?;
        // From here on untrusted input may arrive.
        Sandbox::new(None)?.enter()?;
        let (sender, requests) = mpsc::channel(MAX_CONNECTIONS);
        tokio::select! {
            outcome = channel::run(channel, requests) => outcome,
            () = Server::new(listener, sender).serve() => Ok(()),
        }
    })
}
