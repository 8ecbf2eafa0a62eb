//! One attempt to reach a port, and how it ended.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

/// How long an answer may take. It is less than the second after which a system sends a SYN again.
const PATIENCE: Duration = Duration::from_millis(900);

/// How an attempt to reach a port ended.
#[derive(Debug)]
pub(super) enum Contact {
    /// Somebody answers: the connection succeeded, or a datagram came back.
    Answered,
    /// A reset, or an ICMP message "port unreachable".
    Refused,
    /// Another ICMP message, or this host has no way to the address.
    Unreachable(io::Error),
    /// This host does not let the packet out.
    Forbidden(io::Error),
    /// Nothing came back in time.
    Silent,
    /// The attempt could not be made.
    Failed(io::Error),
}

/// Sends one SYN to each of `targets` at the same time.
pub(super) fn connect(targets: &[SocketAddr]) -> Vec<Contact> {
    thread::scope(|scope| {
        let attempts: Vec<_> = targets
            .iter()
            .map(|target| scope.spawn(|| tcp(*target)))
            .collect();
        attempts
            .into_iter()
            .map(|attempt| attempt.join().unwrap_or(Contact::Silent))
            .collect()
    })
}

fn tcp(target: SocketAddr) -> Contact {
    let connected = TcpStream::connect_timeout(&target, PATIENCE);
    // A connection of this host to itself (RFC 9293, section 3.5).
    let is_own = |stream: &TcpStream| stream.local_addr().ok() == Some(target);
    match connected {
        Ok(stream) if is_own(&stream) => Contact::Refused,
        Ok(_) => Contact::Answered,
        Err(error) => Contact::from(error),
    }
}

/// Sends one empty datagram to `target`.
pub(super) fn datagram(target: SocketAddr) -> Contact {
    ask(target).map_or_else(Contact::from, |()| Contact::Answered)
}

fn ask(target: SocketAddr) -> io::Result<()> {
    let any: SocketAddr = if target.is_ipv6() {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    // Connected, so that ICMP messages are reported.
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&[])?;
    // Any length will do, and a longer answer is cut.
    socket.recv(&mut [0; 64]).map(drop)
}

impl From<io::Error> for Contact {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::TimedOut | Kind::WouldBlock | Kind::Interrupted => Self::Silent,
            Kind::ConnectionRefused | Kind::ConnectionReset => Self::Refused,
            Kind::PermissionDenied => Self::Forbidden(error),
            Kind::HostUnreachable | Kind::NetworkUnreachable => Self::Unreachable(error),
            _ => Self::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_and_a_refusal_are_told_apart() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let targets = [open.local_addr().unwrap(), closed.local_addr().unwrap()];
        drop(closed);
        let contacts = connect(&targets);
        assert!(
            matches!(contacts[..], [Contact::Answered, Contact::Refused]),
            "{contacts:?}"
        );
    }

    #[test]
    fn a_datagram_is_answered_refused_or_nothing_comes_back() {
        let echo = crate::testing::respond(|request, send| {
            assert!(request.is_empty());
            send(b"!");
        });
        assert!(matches!(datagram(echo), Contact::Answered));
        let silent = crate::testing::respond(|_, _| {});
        assert!(matches!(datagram(silent), Contact::Silent));
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        // wine, in which the client for Windows is tested, does not report it.
        if !cfg!(windows) {
            assert!(matches!(datagram(address), Contact::Refused));
        }
    }

    #[test]
    fn errors_have_a_meaning() {
        for (kind, expected) in [
            (io::ErrorKind::TimedOut, "Silent"),
            (io::ErrorKind::WouldBlock, "Silent"),
            (io::ErrorKind::HostUnreachable, "Unreachable"),
            (io::ErrorKind::PermissionDenied, "Forbidden"),
            (io::ErrorKind::AddrInUse, "Failed"),
        ] {
            let contact = format!("{:?}", Contact::from(io::Error::from(kind)));
            assert!(contact.starts_with(expected), "{contact}");
        }
    }
}
