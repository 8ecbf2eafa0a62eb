//! Who tells under which address this host is seen.

use std::{net::IpAddr, str::FromStr};

use thiserror::Error;

use crate::{
    server::{Address, Families},
    service::{InvalidService, Service, ServiceError},
    source_ip::arrives_unchanged,
    stun,
};

/// Who tells under which address this host is seen, where the host cannot know it itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ResolveIp {
    /// Nobody: the knock is not bound to an address then.
    #[default]
    Nobody,
    /// A STUN server.
    Stun(Service),
}

/// Why a text is not a valid [`ResolveIp`].
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InvalidResolveIp {
    /// It is of no known kind.
    #[error("expected `none` or stun:HOST")]
    Kind,
    /// It is a web address.
    #[error(
        "web services are not asked: use stun:HOST, or let another program ask: --source-ip \"$(curl -fsS URL)\""
    )]
    Web,
    /// The server is invalid.
    #[error("{0}")]
    Service(InvalidService),
}

impl FromStr for ResolveIp {
    type Err = InvalidResolveIp;

    fn from_str(text: &str) -> Result<Self, InvalidResolveIp> {
        match text.split_once(':') {
            Some(("stun", service)) => Service::parse(service, stun::PORT)
                .map(Self::Stun)
                .map_err(InvalidResolveIp::Service),
            Some(("http" | "https", _)) => Err(InvalidResolveIp::Web),
            None if text == "none" => Ok(Self::Nobody),
            _ => Err(InvalidResolveIp::Kind),
        }
    }
}

/// The address of this host is not known.
#[derive(Debug, Error)]
#[error("no address of this host from stun:{service}, so the knock is not bound to one")]
pub struct NoAddress {
    service: Service,
    source: ServiceError,
}

impl ResolveIp {
    /// The address under which packets of this host arrive that leave it in the family of `to`.
    /// `None` if nobody is to be asked. May take seconds.
    ///
    /// # Errors
    ///
    /// Returns [`NoAddress`] if there is no answer, or none with an address that can be seen.
    pub fn address(&self, to: Address) -> Result<Option<IpAddr>, NoAddress> {
        let Self::Stun(service) = self else {
            return Ok(None);
        };
        let families = if to.is_ipv6() {
            Families::Ipv6
        } else {
            Families::Ipv4
        };
        let checked = stun::address(service, families).and_then(|ip| {
            if arrives_unchanged(ip) {
                Ok(Some(ip))
            } else {
                Err(ServiceError::Bad("it answers with a private address"))
            }
        });
        checked.map_err(|source| NoAddress {
            service: service.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::respond;

    #[test]
    fn a_stun_server_can_be_asked() {
        assert_eq!("none".parse(), Ok(ResolveIp::Nobody));
        let Ok(ResolveIp::Stun(service)) = "stun:[2001:db8::1]".parse() else {
            panic!("no server");
        };
        assert_eq!(service.to_string(), "[2001:db8::1]:3478");
        for text in ["", "stun", "stun:", "turn:host", "host", "auto"] {
            assert!(text.parse::<ResolveIp>().is_err(), "{text}");
        }
        let error = "https://ip.example.net".parse::<ResolveIp>().unwrap_err();
        assert!(error.to_string().contains("$(curl -fsS URL)"), "{error}");
    }

    #[test]
    fn a_private_address_is_no_answer() {
        for (octets, expected) in [([192, 0, 2, 7], true), ([10, 0, 0, 1], false)] {
            let server = respond(move |request, send| {
                let mask = [0x21, 0x12, 0xa4, 0x42];
                let masked: [u8; 4] = std::array::from_fn(|i| octets[i] ^ mask[i]);
                let head = [1, 1, 0, 12];
                let attribute = [0, 0x20, 0, 8, 0, 1, 0, 0];
                send(&[&head, &request[4..20], &attribute[..], &masked].concat());
            });
            let resolve: ResolveIp = format!("stun:{server}").parse().unwrap();
            let found = resolve.address(IpAddr::from([192, 0, 2, 1]).into());
            match found {
                Ok(address) => {
                    assert!(expected);
                    assert_eq!(address, Some(octets.into()));
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    assert!(!expected && error.contains("private address"), "{error}");
                    assert!(error.contains("not bound"), "{error}");
                }
            }
        }
        let to = IpAddr::from([192, 0, 2, 1]).into();
        assert_eq!(ResolveIp::Nobody.address(to).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = text.parse::<ResolveIp>();
        }
    }
}
