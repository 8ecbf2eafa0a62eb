//! Verification of datagrams. Decryption is separate from the checks of what was decrypted, so that
//! a datagram that comes again, from wherever, is decrypted once.

use std::net::IpAddr;

use knock_common::{
    address::Address,
    datagram::DATAGRAM_LEN,
    protocol::datagram::{Beneficiary, OpenError, Request, replay_id},
};

use super::{Arrival, Authenticator, Holder, Refusal, Refused, SingleUse, Verified};

/// The content of a datagram, or the reason that it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decrypted {
    /// A request of a client.
    Request {
        /// The client, by the key that was used.
        holder: Holder,
        /// The request.
        request: Request,
    },
    /// A malformed request of the client with this index.
    Invalid(usize),
    /// Not made for this server, or not by one of its clients.
    Forged,
}

impl Authenticator {
    /// Decrypts a datagram: at most two multiplications on the curve, and one look-up of the
    /// client.
    #[must_use]
    pub fn decrypt(&self, datagram: &[u8; DATAGRAM_LEN]) -> Decrypted {
        let Some(server) = &self.server else {
            return Decrypted::Forged;
        };
        let (public, request) = match Request::open(server, datagram) {
            Ok((public, request)) => (public, Some(request)),
            Err(OpenError::Invalid(public, _)) => (public, None),
            Err(OpenError::Forged) => return Decrypted::Forged,
        };
        match (self.holders.get(&public), request) {
            (Some(holder), Some(request)) => Decrypted::Request {
                holder: *holder,
                request,
            },
            (Some(holder), None) => Decrypted::Invalid(holder.client),
            (None, _) => Decrypted::Forged,
        }
    }

    /// Checks the content of `datagram`. This does not detect replays.
    ///
    /// # Errors
    ///
    /// Returns the reason for which the knock has to be refused.
    pub fn verify_datagram(
        &self,
        datagram: &[u8; DATAGRAM_LEN],
        decrypted: &Decrypted,
        arrival: &Arrival,
    ) -> Result<Verified, Refused> {
        let (holder, request) = match decrypted {
            Decrypted::Request { holder, request } => (*holder, request),
            Decrypted::Invalid(client) => {
                return Err(Refused {
                    why: Refusal::Invalid,
                    client: Some(*client),
                });
            }
            Decrypted::Forged => {
                return Err(Refused {
                    why: Refusal::Forged,
                    client: None,
                });
            }
        };
        self.check_request(holder, request, datagram, arrival)
            .map_err(|why| Refused {
                why,
                client: Some(holder.client),
            })
    }

    fn check_request(
        &self,
        holder: Holder,
        request: &Request,
        datagram: &[u8; DATAGRAM_LEN],
        arrival: &Arrival,
    ) -> Result<Verified, Refusal> {
        let door = self.long_tags.get(&request.door);
        let door = *door.ok_or(Refusal::UnknownTag)?;
        let rule = self.rule(door, holder.client)?;
        request.check_time(arrival.now, arrival.max_skew)?;
        self.check_holder(holder, arrival)?;
        let beneficiary = beneficiary(request.beneficiary, arrival.source, rule.allow_other)?;
        let is_bound = request.beneficiary != Beneficiary::Sender;
        if rule.require_binding && !is_bound {
            return Err(Refusal::NotBound);
        }
        Ok(Verified {
            client: holder.client,
            door,
            beneficiary,
            wish: rule.wish(request.lease),
            single_use: Some(SingleUse {
                id: replay_id(datagram),
                made_at: request.unix_ms,
            }),
            is_bound,
            old_key_until: holder.until,
        })
    }
}

/// The address that the door opens for.
fn beneficiary(asked: Beneficiary, source: IpAddr, allow_other: bool) -> Result<IpAddr, Refusal> {
    match asked {
        Beneficiary::Sender => Ok(source),
        Beneficiary::Bound(address) if address == source => Ok(source),
        Beneficiary::Bound(_) => Err(Refusal::BoundElsewhere),
        // A door opens for a single host only.
        Beneficiary::Other(address) if allow_other && !Address::from(address).is_martian() => {
            Ok(address)
        }
        Beneficiary::Other(_) => Err(Refusal::ForOther),
    }
}

#[cfg(test)]
mod tests;
