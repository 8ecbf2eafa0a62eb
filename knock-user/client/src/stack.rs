//! The system's TCP stack and clock, as far as a knock needs them.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

/// What sends SYNs from chosen ports, and knows the time. Dropping a socket closes it.
pub trait Stack {
    /// A socket bound to a source port.
    type Socket;

    /// A socket of the family of `to`, bound to `port` on every address of this host.
    ///
    /// # Errors
    ///
    /// The system's, for instance [`io::ErrorKind::AddrInUse`].
    fn bind(&mut self, to: SocketAddr, port: u16) -> io::Result<Self::Socket>;

    /// Lets one SYN leave from `socket` to `to` and does not wait for an answer; that the
    /// port refuses is a success.
    ///
    /// # Errors
    ///
    /// The system's if it did not leave, for instance [`io::ErrorKind::NetworkUnreachable`].
    fn connect(&mut self, socket: &Self::Socket, to: SocketAddr) -> io::Result<()>;

    /// What time it is.
    fn now(&self) -> Instant;

    /// Waits.
    fn sleep(&mut self, pause: Duration);
}

/// The system itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemStack;

impl Stack for SystemStack {
    type Socket = Socket;

    fn bind(&mut self, to: SocketAddr, port: u16) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // Where something listens, the connection ends with a reset: it would otherwise stay
        // in TIME_WAIT and keep its port from the next copy.
        socket.set_linger(Some(Duration::ZERO))?;
        // On Windows this would take the port from whoever has it.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        let any = if to.is_ipv6() {
            // The same port in use with IPv4 is not in the way.
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

/// Whether a connect that did not succeed has sent its SYN.
fn is_on_its_way(error: &io::Error) -> bool {
    // std has no stable name for this kind.
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::EINPROGRESS) {
        return true;
    }
    matches!(
        error.kind(),
        // What Windows says instead, and POSIX's connect() after a signal.
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
        // The SYN was answered at once, as on the loopback interface.
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
