//! Two hosts connected by a veth link.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::netns::Namespace;

/// Time limit for a new link to carry traffic.
const SETTLE_TIMEOUT: Duration = Duration::from_mins(1);

/// A server and a client namespace, joined by a veth pair.
///
/// Interface names and addresses are the same for every pair; the namespaces isolate them.
#[derive(Debug)]
pub struct Pair {
    /// The host of the service and the daemon.
    pub server: Namespace,
    /// The host of the clients.
    pub client: Namespace,
}

impl Pair {
    /// The server's interface.
    pub const SERVER_INTERFACE: &str = "srv0";
    /// The client's interface.
    pub const CLIENT_INTERFACE: &str = "cli0";
    /// The server's hardware address.
    pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    /// The client's hardware address.
    pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
    /// The server's IPv4 address.
    pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// The server's IPv6 address.
    pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    /// The client's IPv4 address.
    pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    /// The client's IPv6 address.
    pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

    /// Creates two namespaces and a link that carries IPv4 and IPv6 on return.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses an operation or the link does not carry traffic in
    /// time.
    pub fn new() -> Result<Self> {
        let pair = Self {
            server: Namespace::new()?,
            client: Namespace::new()?,
        };
        pair.server.ip(&format!(
            "link add {} type veth peer name {} netns {}",
            Self::SERVER_INTERFACE,
            Self::CLIENT_INTERFACE,
            pair.client.path().display()
        ))?;
        for (namespace, interface, [.., last], v4, v6) in [
            (
                &pair.server,
                Self::SERVER_INTERFACE,
                Self::SERVER_MAC,
                Self::SERVER_V4,
                Self::SERVER_V6,
            ),
            (
                &pair.client,
                Self::CLIENT_INTERFACE,
                Self::CLIENT_MAC,
                Self::CLIENT_V4,
                Self::CLIENT_V6,
            ),
        ] {
            // No link-local addresses: their duplicate address detection and router solicitations
            // would appear in captures.
            namespace.ip(&format!(
                "link set dev {interface} address 02:00:00:00:00:{last:02x} addrgenmode none up"
            ))?;
            add_address(namespace, interface, v4.into())?;
            add_address(namespace, interface, v6.into())?;
        }
        pair.settle()?;
        Ok(pair)
    }

    /// Adds an address from 192.0.2.0/24 or 2001:db8::/64 to the client, as a second source.
    ///
    /// # Errors
    ///
    /// Returns an error if `ip` fails.
    pub fn add_client_address(&self, address: IpAddr) -> Result<()> {
        add_address(&self.client, Self::CLIENT_INTERFACE, address)
    }

    /// Waits until a TCP connection succeeds over both families: the interfaces have carrier, the
    /// addresses are usable and neighbour discovery is complete.
    fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        for address in [IpAddr::V4(Self::SERVER_V4), IpAddr::V6(Self::SERVER_V6)] {
            let listener = until(deadline, || {
                self.server
                    .run(|| Ok(TcpListener::bind(SocketAddr::new(address, 0))?))
            })
            .with_context(|| format!("{address} did not become usable"))?;
            let destination = listener.local_addr()?;
            until(deadline, || {
                self.client.run(|| {
                    Ok(TcpStream::connect_timeout(
                        &destination,
                        SETTLE_TIMEOUT / 10,
                    )?)
                })
            })
            .with_context(|| format!("the link to {address} carries no traffic"))?;
        }
        Ok(())
    }
}

fn add_address(namespace: &Namespace, interface: &str, address: IpAddr) -> Result<()> {
    // Duplicate address detection takes a second and cannot find a conflict on this link.
    let arguments = match address {
        IpAddr::V4(address) => format!("address add {address}/24 dev {interface}"),
        IpAddr::V6(address) => format!("address add {address}/64 dev {interface} nodad"),
    };
    namespace.ip(&arguments).map(drop)
}

/// Repeats `attempt` until it succeeds. Returns its last error after the deadline.
fn until<T>(deadline: Instant, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match attempt() {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
            outcome => return outcome,
        }
    }
}
