//! A client that is ready to knock on one door.

use std::{net::IpAddr, num::NonZeroU16, time::Duration};

use knock_common::{
    datagram::DATAGRAM_LEN,
    protocol::{
        block::BLOCK_LEN,
        datagram::Beneficiary,
        identity::{KeyPair, LowOrder, PrivateKey, PublicKey},
        lease::{RequestedLease, ShortLease},
    },
    window::Window,
};
use knockd_credentials::{host::Host, key_file};
use thiserror::Error;

use crate::{
    clock::Clock,
    delivery::{DeliveryError, Sending},
    keyed::{KeyedKnocks, MakeError, Parcel, Sources},
    moment::Moment,
    name::Name,
    pace::Pace,
    route::Via,
    server::{Address, Families, LookupError, Server},
    source_ip::{Bound, SourceIp},
    transport::{Transport, UdpPort},
};

/// A server, as an invitation names it. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server's name or address.
    pub host: Host,
    /// The server's public key.
    pub key: PublicKey,
    /// The ports of SYN knocks.
    pub window: Window,
    /// The port of datagram knocks.
    pub udp: UdpPort,
}

impl Target {
    /// The server with this public key, at the default ports.
    #[must_use]
    pub fn new(host: Host, key: PublicKey) -> Self {
        Self {
            host,
            key,
            window: Window::DEFAULT,
            udp: UdpPort::default(),
        }
    }

    /// The same with another port of datagram knocks.
    #[must_use]
    pub fn with_udp(mut self, port: NonZeroU16) -> Self {
        self.udp = port.into();
        self
    }
}

/// A client that is ready to knock on one door of one server.
///
/// Its keys are wiped when it is dropped, and not shown by `Debug`. All threads can use it at the same
/// time: no two of its knocks are equal.
#[derive(Debug)]
pub struct Knocker {
    target: Target,
    // Boxed, because moving the value would leave copies of its keys.
    knocks: Box<KeyedKnocks>,
    source_ip: SourceIp,
    lease: RequestedLease,
}

/// What was sent.
#[derive(Clone, Debug)]
pub struct Knocked {
    /// The addresses of the server that a knock was sent to: at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// What was not sent in full, or not to one of the addresses.
    pub notes: Vec<String>,
}

/// Why no knock was sent.
#[derive(Debug, Error)]
pub enum KnockError {
    /// No address of the server can be used.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The knock cannot be made.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The knock cannot be sent.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

impl Knocker {
    /// The client with these `keys`, which asks the server at `target` to open `door`.
    ///
    /// # Errors
    ///
    /// Returns [`LowOrder`] if the server's public key belongs to no key pair.
    pub fn new(target: Target, keys: KeyPair, door: &Name) -> Result<Self, LowOrder> {
        let knocks = KeyedKnocks::new(keys, target.key, door, target.window, Clock::SYSTEM)?;
        Ok(Self {
            target,
            knocks: Box::new(knocks),
            source_ip: SourceIp::default(),
            lease: RequestedLease::DOORS_DEFAULT,
        })
    }

    /// The same with another source address; by default it is [`SourceIp::Auto`].
    #[must_use]
    pub fn with_source_ip(mut self, source_ip: SourceIp) -> Self {
        self.source_ip = source_ip;
        self
    }

    /// The same with another lease; by default it is that of the door.
    #[must_use]
    pub fn with_lease(mut self, lease: RequestedLease) -> Self {
        self.lease = lease;
        self
    }

    /// The destination ports of a fresh SYN knock. A SYN has to be sent to each of them, in this order.
    ///
    /// The knock is bound to the address of [`Knocker::with_source_ip`]. With [`SourceIp::Auto`] it is
    /// unbound.
    ///
    /// # Errors
    ///
    /// Returns [`MakeError`] if there is no time or no random number for it, or the lease is too long.
    pub fn ports(&self) -> Result<[u16; BLOCK_LEN], MakeError> {
        self.ports_at(Moment::now(&Clock::SYSTEM)?)
    }

    /// The same as [`Knocker::ports`], for a host with a clock of its own. Two knocks of the same
    /// `moment` are the same knock, which the server accepts once.
    ///
    /// # Errors
    ///
    /// Returns [`MakeError::Lease`] if the lease is too long.
    pub fn ports_at(&self, moment: Moment) -> Result<[u16; BLOCK_LEN], MakeError> {
        let lease = ShortLease::try_from(self.lease)?;
        let knock = self.knocks.syns().knock(self.source(), lease, moment);
        Ok(knock.ports())
    }

    /// The payload of a fresh datagram knock, for the UDP port [`Target::udp`] of the server. It is
    /// bound as in [`Knocker::ports`].
    ///
    /// # Errors
    ///
    /// Returns [`MakeError`] if there is no time or no random number for it.
    pub fn datagram(&self) -> Result<[u8; DATAGRAM_LEN], MakeError> {
        let moment = Moment::now(&Clock::SYSTEM)?;
        let ephemeral = key_file::generate().map_err(MakeError::Random)?;
        self.datagram_at(moment.unix_ms, ephemeral)
    }

    /// The same as [`Knocker::datagram`], for a host with a clock or random numbers of its own.
    /// `unix_ms` is the time in Unix milliseconds. `ephemeral` must be random, and is used once: two
    /// datagrams with the same one reveal what they contain.
    ///
    /// # Errors
    ///
    /// Returns [`MakeError::Server`] if the server's public key belongs to no key pair.
    pub fn datagram_at(
        &self,
        unix_ms: u64,
        ephemeral: PrivateKey,
    ) -> Result<[u8; DATAGRAM_LEN], MakeError> {
        let beneficiary = self
            .source()
            .map_or(Beneficiary::Sender, Beneficiary::Bound);
        let knocks = self.knocks.datagrams();
        Ok(knocks.knock(beneficiary, self.lease, unix_ms, ephemeral)?)
    }

    /// Knocks once on each address of the server, at most one of each family. Success does not mean that
    /// a door is open, because a knock is never answered.
    ///
    /// The system's resolver may take `timeout` to find the addresses; a host that is an address needs
    /// none. Sending takes a tenth of a second for each address, elsewhere than on Linux some more.
    ///
    /// # Errors
    ///
    /// Returns [`KnockError`] if no knock was sent.
    pub fn knock(&self, transport: Transport, timeout: Duration) -> Result<Knocked, KnockError> {
        let addresses = self.addresses(timeout)?;
        let mut parcels: Vec<(Address, Parcel)> = Vec::with_capacity(addresses.len());
        for address in addresses {
            // Each address gets a knock of its own: the server would reject the second as a replay.
            let sources = self.sources(address, transport);
            let parcel = self.knocks.parcel(transport, sources, None, self.lease)?;
            parcels.push((address, parcel));
        }
        let sending = Sending {
            syns: Pace::SYNS,
            datagrams: Pace::DATAGRAMS,
            udp: self.target.udp,
        };
        let mut delivery = sending.deliver(&parcels);
        if delivery.reached.is_empty()
            && let Some(failure) = delivery.failures.pop()
        {
            return Err(failure.into());
        }
        let failures = delivery.failures.iter();
        let mut notes = delivery.notes;
        notes.extend(failures.map(|failure| crate::message::of(failure)));
        Ok(Knocked {
            addresses: delivery.reached.into_iter().map(Address::ip).collect(),
            notes,
        })
    }

    fn addresses(&self, timeout: Duration) -> Result<Vec<Address>, LookupError> {
        let families = self.source_ip.family().unwrap_or(Families::Both);
        Server::from(self.target.host.clone()).addresses(families, timeout)
    }

    /// The address that a knock is bound to if it is not known where it is sent to.
    fn source(&self) -> Option<IpAddr> {
        match self.source_ip {
            SourceIp::Is(address) => Some(address.get()),
            SourceIp::Auto | SourceIp::None => None,
        }
    }

    fn sources(&self, to: Address, transport: Transport) -> Sources {
        let known = |via| match self.source_ip.address(to, via) {
            Bound::To(source) => Some(source),
            Bound::Nowhere | Bound::Unknown => None,
        };
        let (tcp, udp) = (self.target.window.base(), self.target.udp.get());
        Sources {
            syns: transport.has_syns().then(|| known(Via::Tcp(tcp))).flatten(),
            datagram: transport
                .has_datagram()
                .then(|| known(Via::Udp(udp)))
                .flatten(),
        }
    }
}
