//! The source address that the system selects for a knock. Policy routing can make it depend on the
//! protocol and on the port, so it is that of a socket like those that knock. Nothing is sent.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use crate::server::Address;

/// How a knock travels, and the destination port: one of it, if there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// SYNs.
    Tcp(u16),
    /// A datagram.
    Udp(u16),
}

/// The source address of packets to `to`.
///
/// # Errors
///
/// Returns the system's error, for example if there is no route.
pub(crate) fn source(to: Address, via: Via) -> io::Result<IpAddr> {
    match via {
        Via::Udp(port) => udp_source(to.with_port(port)),
        Via::Tcp(port) => {
            let to = to.with_port(port);
            match tcp_source(to) {
                Err(error) if is_unsupported(&error) => udp_source(to),
                source => source,
            }
        }
    }
}

/// Connecting a UDP socket selects its address and sends nothing.
fn udp_source(to: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if to.is_ipv6() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind(SocketAddr::from((any, 0)))?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

fn is_unsupported(error: &io::Error) -> bool {
    #[cfg(unix)]
    if [libc::ENOPROTOOPT, libc::EOPNOTSUPP]
        .into_iter()
        .any(|number| error.raw_os_error() == Some(number))
    {
        return true;
    }
    error.kind() == io::ErrorKind::Unsupported
}

/// Connecting a TCP socket selects its address and sends a SYN. With TCP Fast Open (RFC 7413) and
/// without a cookie, the SYN waits for the first data, which never come.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn tcp_source(to: SocketAddr) -> io::Result<IpAddr> {
    use socket2::{Domain, Protocol, Socket, Type};

    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Both have to succeed before the socket is connected.
    for option in [libc::TCP_FASTOPEN_CONNECT, libc::TCP_FASTOPEN_NO_COOKIE] {
        enable(&socket, option)?;
    }
    socket.connect(&to.into())?;
    let source = socket.local_addr()?.as_socket();
    source.map_or_else(
        || Err(io::ErrorKind::Unsupported.into()),
        |source| Ok(source.ip()),
    )
}

/// Sets a boolean option of TCP, which socket2 does not have.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn enable(socket: &socket2::Socket, option: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;

    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads the value, whose size is that of its type, during the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const on).cast(),
            len,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Other systems cannot select the address of a TCP socket without sending a SYN.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn tcp_source(_to: SocketAddr) -> io::Result<IpAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_route_to_this_host_has_a_loopback_source() {
        for to in ["127.0.0.1", "::1"] {
            let to = Address::from(to.parse::<IpAddr>().unwrap());
            for via in [Via::Tcp(61_000), Via::Udp(62_201)] {
                // A host need not have IPv6.
                if let Ok(source) = source(to, via) {
                    assert!(source.is_loopback(), "{source}");
                }
            }
        }
    }

    #[test]
    fn asking_sends_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        source(IpAddr::from([127, 0, 0, 1]).into(), Via::Tcp(port)).unwrap();
        // The loopback interface delivers at once.
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
