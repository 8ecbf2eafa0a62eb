//! The listener: the unprivileged process `knockd-listener`, which reads untrusted network input.
//!
//! It receives its file descriptors from the supervisor and enters its sandbox before it reads the
//! first byte. From then on it verifies knocks and answers the control socket. It requests
//! operations that need privileges from the supervisor.

mod accepted;
pub mod assembler;
mod attempt;
pub mod auth;
mod claims;
mod control;
mod decrypted;
mod event_loop;
mod fleet;
#[doc(hidden)]
pub mod fuzz;
mod holes;
mod log_limit;
mod metrics;
mod pending;
mod queries;
mod query;
mod replay_store;
mod scattered;
mod skipped_lines;
pub mod source;
mod state;
pub mod tails;
mod trials;

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
pub use knockd_ipc::channel::LISTENER_NAME as NAME;
use knockd_ipc::{
    channel::ListenerEnd,
    message::{Message, StartupConfig},
};
use knockd_runtime::{
    durable::HEADER_LEN,
    log, role,
    sandbox::{Files, Sandbox},
};
use knockd_types::replay_file::CONTENT_LEN;
use rustix::process::fchdir;
use tokio::sync::mpsc;

use self::{
    control::Server,
    source::lines::Lines,
    state::{Listener, Rings, Source},
};

/// Queries that may wait while the event loop is busy. Connections beyond that wait to send theirs.
const MAX_QUEUED_QUERIES: usize = 16;

/// Runs the listener until the supervisor exits.
///
/// # Errors
///
/// Returns an error if the supervisor did not start this process, if the sandbox cannot be
/// entered, or if the source fails.
pub fn main() -> Result<()> {
    role::begin(c"knockd-listener")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        role::ignore_signals()?;
        let mut supervisor = ListenerEnd::from_stdin()?;
        let Some((Message::Begin(startup), files)) = supervisor.recv().await? else {
            bail!("the supervisor exited before it sent the configuration");
        };
        listen(supervisor, *startup, files).await
    })
}

async fn listen(
    supervisor: ListenerEnd,
    startup: StartupConfig,
    files: Vec<OwnedFd>,
) -> Result<()> {
    log::init_like(&startup.log);
    let mut files = files.into_iter();
    let missing = "a file descriptor is missing";
    let server = Server::from_listener(files.next().context(missing)?, startup.owner)?;
    // The sandbox denies the system calls that opening a ring needs. Nothing is read from it yet.
    let (rings, lines) = if startup.reads_lines {
        (None, Some(files.next().context(missing)?))
    } else {
        (Some(Rings::open(&mut files, &startup.config)?), None)
    };
    let store_dir = match &startup.store {
        Some(_) => Some(files.next().context(missing)?),
        None => None,
    };
    if let Some(directory) = &store_dir {
        fchdir(directory)?;
    }
    // From here on untrusted input may arrive.
    let files = store_dir.as_ref().map(|dir| Files {
        dir,
        max_len: (HEADER_LEN + CONTENT_LEN) as u64,
    });
    let has_landlock = Sandbox::new(files)?.enter()?;
    let source = match (rings, lines) {
        (Some(rings), _) => Source::Rings(Box::new(rings)),
        (None, Some(lines)) => Source::Lines(Lines::read(lines, startup.config.window())?),
        (None, None) => Source::Ended,
    };
    let (sender, queries) = mpsc::channel(MAX_QUEUED_QUERIES);
    tokio::spawn(server.serve(sender.clone()));
    let mut listener = Listener::new(
        supervisor,
        source,
        startup.config,
        startup.store,
        startup.started,
        sender,
    )?;
    listener.has_landlock = has_landlock;
    listener.open_store()?;
    listener.run(queries).await
}
