//! The knocks to send.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use knock_common::protocol::{
    datagram::Beneficiary,
    lease::RequestedLease,
    syn::{SynKey, SynSecret},
};
use knockd_credentials::key_file;

use crate::{
    clock::Clock,
    datagram::{Datagram, DatagramKnocks},
    knock::Knock,
    moment::Moment,
    plan::{Keyed, Plan, Protocol, Whom},
    secret,
    syn::SynKnocks,
};

/// The source of the knocks to send.
pub(super) enum Knocks {
    /// The same knock every time.
    Classic(Knock),
    /// A fresh knock every time. Boxed, because moving the value would leave copies of its keys.
    Keyed(Box<KeyedKnocks>),
}

/// Makes fresh knocks with a key pair.
pub(super) struct KeyedKnocks {
    syns: Option<SynKnocks>,
    datagrams: Option<DatagramKnocks>,
    whom: Whom,
    clock: Clock,
}

/// What one knock sends to one address.
pub(super) struct Parcel {
    pub(super) datagram: Option<Datagram>,
    pub(super) syns: Option<Knock>,
}

/// The addresses that a knock is bound to. Its SYNs and its datagram can leave from different ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sources {
    pub(super) syns: Option<IpAddr>,
    pub(super) datagram: Option<IpAddr>,
}

impl Sources {
    /// Whether one of them is known.
    pub(super) fn are_bound(self) -> bool {
        self.syns.or(self.datagram).is_some()
    }
}

impl Knocks {
    /// Reads the key of the plan, or prompts for the passphrase.
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        match &plan.protocol {
            Protocol::Classic {
                sequence,
                passphrase_file,
            } => {
                let key = secret::classic_key(passphrase_file.as_deref())?;
                Ok(Self::Classic(Knock::classic(&key, sequence, plan.window)))
            }
            Protocol::Keyed(keyed) => Ok(Self::Keyed(Box::new(KeyedKnocks::new(keyed, plan)?))),
        }
    }

    /// A knock that is bound to `sources`, or unbound.
    pub(super) fn parcel(&mut self, sources: Sources, lease: RequestedLease) -> Result<Parcel> {
        match self {
            Self::Classic(knock) => Ok(Parcel {
                datagram: None,
                syns: Some(*knock),
            }),
            Self::Keyed(knocks) => knocks.parcel(sources, lease),
        }
    }
}

impl KeyedKnocks {
    fn new(keyed: &Keyed, plan: &Plan) -> Result<Self> {
        let door = keyed.door.as_str();
        // First, so that a server that does not answer is reported before the passphrase prompt.
        let clock = keyed.time.clock()?;
        let pair = keyed.secret.pair(&keyed.server_key)?;
        let syns = if keyed.transport.has_syns() {
            let secret = SynSecret::of_client(&pair, &keyed.server_key).context(WRONG_SERVER)?;
            Some(SynKnocks::new(SynKey::new(&secret), door, plan.window))
        } else {
            None
        };
        let datagrams = keyed
            .transport
            .has_datagram()
            .then(|| DatagramKnocks::new(pair, keyed.server_key, door));
        Ok(Self {
            syns,
            datagrams,
            whom: keyed.whom,
            clock,
        })
    }

    fn parcel(&mut self, sources: Sources, lease: RequestedLease) -> Result<Parcel> {
        let moment = Moment::now(&self.clock)?;
        let beneficiary = match (self.whom, sources.datagram) {
            (Whom::Other(other), _) => Beneficiary::Other(other.get()),
            (Whom::Sender(_), Some(source)) => Beneficiary::Bound(source),
            (Whom::Sender(_), None) => Beneficiary::Sender,
        };
        let datagram = match &self.datagrams {
            Some(knocks) => {
                let ephemeral = key_file::generate().context("cannot make a knock")?;
                let made = knocks.knock(beneficiary, lease, moment.unix_ms, ephemeral);
                Some(made.context(WRONG_SERVER)?)
            }
            None => None,
        };
        let syns = match &mut self.syns {
            Some(knocks) => Some(knocks.knock(sources.syns, lease.try_into()?, moment)),
            None => None,
        };
        Ok(Parcel { datagram, syns })
    }
}

const WRONG_SERVER: &str = "the server's public key (--server-key, or `server_key` in the profile)";
