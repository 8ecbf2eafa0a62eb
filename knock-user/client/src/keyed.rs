//! Fresh knocks of a client with a key pair.

use std::{io, net::IpAddr};

use knock_common::{
    protocol::{
        datagram::Beneficiary,
        identity::{KeyPair, LowOrder, PublicKey},
        lease::{LeaseOutOfRange, RequestedLease},
        syn::{SynKey, SynSecret},
    },
    window::Window,
};
use knockd_credentials::key_file;
use thiserror::Error;

use crate::{
    clock::Clock,
    datagram::{Datagram, DatagramKnocks},
    knock::Knock,
    moment::{Moment, MomentError},
    name::Name,
    source_ip::HostAddress,
    syn::SynKnocks,
    transport::Transport,
};

/// Makes fresh knocks for one door.
#[derive(Debug)]
pub(crate) struct KeyedKnocks {
    syns: SynKnocks,
    datagrams: DatagramKnocks,
    clock: Clock,
}

/// What one knock sends to one address.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) datagram: Option<Datagram>,
    pub(crate) syns: Option<Knock>,
}

/// The addresses that a knock is bound to. Its SYNs and its datagram can leave from different ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) syns: Option<IpAddr>,
    pub(crate) datagram: Option<IpAddr>,
}

impl Sources {
    /// Whether one of them is known.
    #[cfg(feature = "program")]
    pub(crate) fn are_bound(self) -> bool {
        self.syns.or(self.datagram).is_some()
    }
}

/// Why a knock cannot be made.
#[derive(Debug, Error)]
pub enum MakeError {
    /// There is no time or no random number for it.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// The lease does not fit into a SYN knock.
    #[error("{0} over SYNs; a datagram carries a longer lease")]
    Lease(#[from] LeaseOutOfRange),
    /// The server's public key belongs to no key pair.
    #[error("the server's public key: {0}")]
    Server(#[from] LowOrder),
    /// The system provides no random numbers.
    #[error("the system provides no random numbers: {0}")]
    Random(io::Error),
}

impl KeyedKnocks {
    /// Knocks of the client `pair` on `door` of `server`, with the time of `clock`.
    ///
    /// # Errors
    ///
    /// Returns [`LowOrder`] if the server's public key is not that of a key pair.
    pub(crate) fn new(
        pair: KeyPair,
        server: PublicKey,
        door: &Name,
        window: Window,
        clock: Clock,
    ) -> Result<Self, LowOrder> {
        let secret = SynSecret::of_client(&pair, &server)?;
        Ok(Self {
            syns: SynKnocks::new(SynKey::new(&secret), door.as_str(), window),
            datagrams: DatagramKnocks::new(pair, server, door.as_str()),
            clock,
        })
    }

    /// A knock that is bound to `sources`, or unbound. Its datagram opens the door for `other`, if that
    /// is given.
    pub(crate) fn parcel(
        &self,
        transport: Transport,
        sources: Sources,
        other: Option<HostAddress>,
        lease: RequestedLease,
    ) -> Result<Parcel, MakeError> {
        let moment = Moment::now(&self.clock)?;
        let beneficiary = match (other, sources.datagram) {
            (Some(other), _) => Beneficiary::Other(other.get()),
            (None, Some(source)) => Beneficiary::Bound(source),
            (None, None) => Beneficiary::Sender,
        };
        let datagram = match transport.has_datagram() {
            true => Some(self.datagram(beneficiary, lease, moment.unix_ms)?),
            false => None,
        };
        let syns = match transport.has_syns() {
            true => Some(self.syns.knock(sources.syns, lease.try_into()?, moment)),
            false => None,
        };
        Ok(Parcel { datagram, syns })
    }

    fn datagram(
        &self,
        beneficiary: Beneficiary,
        lease: RequestedLease,
        unix_ms: u64,
    ) -> Result<Datagram, MakeError> {
        let ephemeral = key_file::generate().map_err(MakeError::Random)?;
        let knock = self.datagrams.knock(beneficiary, lease, unix_ms, ephemeral);
        Ok(knock?)
    }

    /// What makes the SYN knocks.
    pub(crate) fn syns(&self) -> &SynKnocks {
        &self.syns
    }

    /// What makes the datagrams.
    pub(crate) fn datagrams(&self) -> &DatagramKnocks {
        &self.datagrams
    }
}
