//! The knocks to send.

use anyhow::{Context as _, Result, anyhow};
use knock_common::protocol::lease::RequestedLease;

use crate::{
    keyed::{KeyedKnocks, MakeError, Parcel, Sources},
    knock::Knock,
    moment::MomentError,
    plan::{Keyed, Plan, Protocol, Whom},
    secret,
    source_ip::HostAddress,
    transport::Transport,
};

/// The source of the knocks to send.
pub(super) enum Knocks {
    /// The same knock every time.
    Classic(Knock),
    /// A fresh knock every time. Boxed, because moving the value would leave copies of its keys.
    Keyed(Box<KeyedKnocks>, Transport, Option<HostAddress>),
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
            Protocol::Keyed(keyed) => {
                let other = match keyed.whom {
                    Whom::Other(other) => Some(other),
                    Whom::Sender(_) => None,
                };
                let knocks = Box::new(keyed_knocks(keyed, plan)?);
                Ok(Self::Keyed(knocks, keyed.transport, other))
            }
        }
    }

    /// A knock that is bound to `sources`, or unbound.
    pub(super) fn parcel(&self, sources: Sources, lease: RequestedLease) -> Result<Parcel> {
        match self {
            Self::Classic(knock) => Ok(Parcel {
                datagram: None,
                syns: Some(*knock),
            }),
            Self::Keyed(knocks, transport, other) => {
                let parcel = knocks.parcel(*transport, sources, *other, lease);
                parcel.map_err(|error| match error {
                    MakeError::Moment(MomentError::Clock) => {
                        anyhow!("{error}, or see --time and --time-offset")
                    }
                    _ => error.into(),
                })
            }
        }
    }
}

fn keyed_knocks(keyed: &Keyed, plan: &Plan) -> Result<KeyedKnocks> {
    // First, so that a server that does not answer is reported before the passphrase prompt.
    let clock = keyed.time.clock()?;
    let pair = keyed.secret.pair(&keyed.server_key)?;
    KeyedKnocks::new(pair, keyed.server_key, &keyed.door, plan.window, clock).context(WRONG_SERVER)
}

const WRONG_SERVER: &str = "the server's public key (--server-key, or `server_key` in the profile)";
