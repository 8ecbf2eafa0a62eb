//! The system's TCP stack and clock, behind a trait for tests.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Sends SYNs from chosen ports, and provides the time. Dropping a socket closes it.
pub trait Stack {
    /// A socket that is bound to a source port.
    type Socket;

    /// Creates a socket of the family of `to` that is bound to `port` on all local addresses.
    ///
    /// # Errors
    ///
    /// Returns the system's error, for example [`io::ErrorKind::AddrInUse`].
    fn bind(&mut self, to: SocketAddr, port: u16) -> io::Result<Self::Socket>;

    /// Sends one SYN from `socket` to `to` without waiting for an answer. A refused connection is
    /// not an error.
    ///
    /// # Errors
    ///
    /// Returns the system's error if nothing was sent, for example
    /// [`io::ErrorKind::NetworkUnreachable`].
    fn connect(&mut self, socket: &Self::Socket, to: SocketAddr) -> io::Result<()>;

    /// The current time.
    fn now(&self) -> Instant;

    /// Waits for `pause`.
    fn sleep(&mut self, pause: Duration);
}

/// The stack and the clock of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemStack;

impl Stack for SystemStack {
    type Socket = Socket;

    fn bind(&mut self, to: SocketAddr, port: u16) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // If the port accepts the connection, closing it sends a reset. Otherwise it would stay in
        // TIME_WAIT and block the source port for the next copy.
        socket.set_linger(Some(Duration::ZERO))?;
        // On Windows this option would take a port from another process.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        let any = if to.is_ipv6() {
            // Ignores whether the same port is in use with IPv4.
            socket.set_only_v6(true)?;
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
        } else {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
        };
        socket.bind(&any.into())?;
        Ok(socket)
    }

    fn connect(&mut self, socket: &Socket, to: SocketAddr) -> io::Result<()> {
        match socket.connect(&to.into()) {
            Err(error) if !is_on_its_way(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&mut self, pause: Duration) {
        thread::sleep(pause);
    }
}

/// Whether a connect that returned an error has sent its SYN.
fn is_on_its_way(error: &io::Error) -> bool {
    // std has no stable error kind for it.
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::EINPROGRESS) {
        return true;
    }
    matches!(
        error.kind(),
        // The error of Windows, and of connect() in POSIX after a signal.
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
        // The SYN was answered at once, which happens on the loopback interface.
        | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_sent_syn_from_a_failure() {
        let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionRefused];
        assert!(kinds.into_iter().all(|kind| is_on_its_way(&kind.into())));
        let kinds = [
            io::ErrorKind::NetworkUnreachable,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::AddrInUse,
            io::ErrorKind::AddrNotAvailable,
        ];
        assert!(!kinds.into_iter().any(|kind| is_on_its_way(&kind.into())));
        #[cfg(unix)]
        assert!(is_on_its_way(&io::Error::from_raw_os_error(
            libc::EINPROGRESS
        )));
    }
}
