//! Files and sockets that the supervisor opens for the listener.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
        },
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use knockd_config::metrics::Settings;
use rustix::{fs::Mode, process::umask};
use tracing::info;

/// The path of the metrics in the URL.
const METRICS_PATH: &str = "/metrics";

/// The first port that every process may listen on by default (ip(7)).
const FIRST_UNPRIVILEGED: u16 = 1024;

/// The control socket. Its file is removed on drop.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: StdUnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds the socket at `path`, with mode 0660. Creates its directory.
    ///
    /// # Errors
    ///
    /// Returns an error if another daemon listens there, or if the socket cannot be created.
    pub(crate) fn bind(path: &Path) -> Result<Self> {
        let describe = || format!("the control socket {}", path.display());
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(describe)?;
        }
        remove_stale(path)?;
        // The socket must not be accessible to others at any time.
        let umask_before = umask(Mode::from_raw_mode(0o117));
        let listener = StdUnixListener::bind(path);
        umask(umask_before);
        let listener = listener.with_context(describe)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).with_context(describe)?;
        listener.set_nonblocking(true).with_context(describe)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It may have been removed already.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the socket of a daemon that was killed.
fn remove_stale(path: &Path) -> Result<()> {
    if StdUnixStream::connect(path).is_ok() {
        bail!(
            "another knockd listens on {}: stop it, or set another `control_socket`",
            path.display()
        );
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
            fs::remove_file(path).with_context(|| format!("the stale socket {}", path.display()))
        }
        Ok(_) => bail!(
            "{} is not a socket: set another `control_socket`",
            path.display()
        ),
        Err(_) => Ok(()),
    }
}

/// Binds the socket from `settings`.
///
/// # Errors
///
/// Returns an error with the reason and the way out if the address cannot be bound.
pub(crate) fn bind(settings: Settings) -> Result<OwnedFd> {
    let listen = settings.listen;
    let bind = || {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let listener = bind().map_err(|error| unlistenable(error, listen))?;
    info!("metrics at http://{listen}{METRICS_PATH}");
    Ok(listener.into())
}

fn unlistenable(error: io::Error, listen: SocketAddr) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "metrics.listen: {listen} is in use: `ss -ltnp` shows the program that listens there; stop it, or set another `listen` in [metrics]"
        ),
        io::ErrorKind::AddrNotAvailable => anyhow!(
            "metrics.listen: this host has no address {}: `ip address` lists its addresses",
            listen.ip()
        ),
        io::ErrorKind::PermissionDenied if listen.port() < FIRST_UNPRIVILEGED => anyhow!(
            "metrics.listen: {listen}: knockd lacks CAP_NET_BIND_SERVICE, which ports below {FIRST_UNPRIVILEGED} take: grant it, or set a higher port"
        ),
        _ => anyhow!(error).context(format!("metrics.listen: {listen}")),
    }
}

/// Opens `path`, or standard input for `-`.
///
/// # Errors
///
/// Returns an error if the file cannot be opened.
pub(crate) fn open(path: &Path) -> Result<OwnedFd> {
    let describe = || format!("the lines in {} cannot be read", path.display());
    if path == Path::new("-") {
        return io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .with_context(describe);
    }
    Ok(File::open(path).with_context(describe)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_bound_is_an_error_with_the_way_out() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap();
        let error = bind(Settings { listen: taken }).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(&format!("{taken} is in use")), "{error}");
        assert!(error.contains("ss -ltnp"), "{error}");
        // A documentation address (RFC 5737), which no host has.
        let listen = "192.0.2.1:9811".parse().unwrap();
        let error = bind(Settings { listen }).unwrap_err();
        let expected = "this host has no address 192.0.2.1";
        assert!(error.to_string().contains(expected), "{error}");
    }
}
