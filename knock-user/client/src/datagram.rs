//! The datagram knock: the whole request in one UDP datagram, sent in several copies.

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    thread,
    time::Instant,
};

use knock_common::{
    datagram::DATAGRAM_LEN,
    protocol::{
        datagram::{Beneficiary, Request},
        door::{DoorTag, LongTag},
        identity::{KeyPair, LowOrder, PrivateKey, PublicKey},
        lease::RequestedLease,
    },
};

use crate::pace::Pace;

/// The payload of a datagram knock.
pub type Datagram = [u8; DATAGRAM_LEN];

/// Creates the datagram knocks of a client for one door.
pub struct DatagramKnocks {
    pair: KeyPair,
    server: PublicKey,
    door: LongTag,
}

impl DatagramKnocks {
    /// Knocks of the client `pair` that only `server` can read, and that request the door with
    /// this name.
    #[must_use]
    pub fn new(pair: KeyPair, server: PublicKey, door: &str) -> Self {
        Self {
            pair,
            server,
            door: DoorTag::of(door),
        }
    }

    /// A knock for `beneficiary` with this lease and time. `ephemeral` must be random, and is used
    /// once.
    ///
    /// # Errors
    ///
    /// Returns [`LowOrder`] if the server's public key is not that of a key pair.
    pub fn knock(
        &self,
        beneficiary: Beneficiary,
        lease: RequestedLease,
        unix_ms: u64,
        ephemeral: PrivateKey,
    ) -> Result<Datagram, LowOrder> {
        let request = Request {
            door: self.door,
            unix_ms,
            beneficiary,
            lease,
        };
        request.seal(&self.pair, &self.server, ephemeral)
    }
}

impl fmt::Debug for DatagramKnocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramKnocks")
            .field("server", &self.server)
            .field("door", &self.door)
            .finish_non_exhaustive()
    }
}

/// Sends the copies of one datagram to each of `targets`, all targets in turn. Returns for each of
/// them how many copies were sent.
///
/// Success does not mean that a copy arrived, because a knock is never answered.
///
/// # Errors
///
/// A target has an error if no copy was sent to it.
pub fn send_datagrams(targets: &[(SocketAddr, Datagram)], pace: Pace) -> Vec<io::Result<u8>> {
    let mut streams: Vec<Stream> = targets.iter().map(Stream::new).collect();
    let start = Instant::now();
    for copy in 0..pace.copies.get() {
        // Counted from the start, so that the sending itself does not add to the time.
        let due = start + pace.delay.get() * u32::from(copy);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        streams.iter_mut().for_each(Stream::send);
    }
    streams.into_iter().map(Stream::result).collect()
}

/// The copies to one address.
struct Stream<'a> {
    to: SocketAddr,
    datagram: &'a Datagram,
    socket: io::Result<UdpSocket>,
    sent: u8,
    failed: Option<io::Error>,
}

impl<'a> Stream<'a> {
    fn new((to, datagram): &'a (SocketAddr, Datagram)) -> Self {
        let any: SocketAddr = if to.is_ipv6() {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        };
        Self {
            to: *to,
            datagram,
            // Not connected: on a connected socket an ICMP error about one copy, such as that the
            // port is closed, would take the place of the next.
            socket: UdpSocket::bind(any),
            sent: 0,
            failed: None,
        }
    }

    fn send(&mut self) {
        let Ok(socket) = &self.socket else { return };
        let send = || socket.send_to(self.datagram, self.to);
        // Some systems report an ICMP error even so, once.
        let sent = send().or_else(|error| {
            if is_answer(&error) {
                send()
            } else {
                Err(error)
            }
        });
        match sent {
            Ok(_) => self.sent += 1,
            Err(error) if is_answer(&error) => self.sent += 1,
            Err(error) => self.failed = Some(error),
        }
    }

    fn result(self) -> io::Result<u8> {
        self.socket?;
        match self.failed {
            Some(error) if self.sent == 0 => Err(error),
            _ => Ok(self.sent),
        }
    }
}

/// Whether the error reports an ICMP message about an earlier datagram.
fn is_answer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests;
