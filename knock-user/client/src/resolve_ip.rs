//! Who tells under which address this host is seen.

use std::{fmt, net::IpAddr, str::FromStr};

use thiserror::Error;

use crate::{
    server::{Address, Families},
    service::{InvalidService, Service, ServiceError},
    source_ip::arrives_unchanged,
    stun,
    web::{self, InvalidPage, Page, WebError},
};

/// Who tells under which address this host is seen, where the host cannot know it itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ResolveIp {
    /// Nobody: the knock is not bound to an address then.
    #[default]
    Nobody,
    /// A STUN server.
    Stun(Service),
    /// A web service.
    Web(Page),
}

/// Why a text is not a valid [`ResolveIp`].
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InvalidResolveIp {
    /// It is of no known kind.
    #[error("expected `none`, stun:HOST or https://HOST/")]
    Kind,
    /// The web address is invalid.
    #[error("{0}")]
    Page(InvalidPage),
    /// The STUN server is invalid.
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
            Some(("http" | "https", _)) => {
                text.parse().map(Self::Web).map_err(InvalidResolveIp::Page)
            }
            None if text == "none" => Ok(Self::Nobody),
            _ => Err(InvalidResolveIp::Kind),
        }
    }
}

/// The text form.
impl fmt::Display for ResolveIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("none"),
            Self::Stun(service) => write!(f, "stun:{service}"),
            Self::Web(page) => page.fmt(f),
        }
    }
}

/// The address of this host is not known.
#[derive(Debug, Error)]
#[error("no address of this host from {asked}, so the knock is not bound to one")]
pub struct NoAddress {
    asked: ResolveIp,
    source: Cause,
}

/// Why nobody told the address of this host.
#[derive(Debug, Error)]
enum Cause {
    #[error(transparent)]
    Stun(#[from] ServiceError),
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("it answers with a private address")]
    Private,
}

impl ResolveIp {
    /// The address under which packets of this host arrive that leave it in the family of `to`.
    /// `None` if nobody is to be asked. May take seconds.
    ///
    /// # Errors
    ///
    /// Returns [`NoAddress`] if there is no answer, or none with an address that can be seen.
    pub fn address(&self, to: Address) -> Result<Option<IpAddr>, NoAddress> {
        self.ask(to).map_err(|source| NoAddress {
            asked: self.clone(),
            source,
        })
    }

    fn ask(&self, to: Address) -> Result<Option<IpAddr>, Cause> {
        let families = if to.is_ipv6() {
            Families::Ipv6
        } else {
            Families::Ipv4
        };
        let ip = match self {
            Self::Nobody => return Ok(None),
            Self::Stun(service) => stun::address(service, families)?,
            Self::Web(page) => web::address(page, families)?,
        };
        if arrives_unchanged(ip) {
            Ok(Some(ip))
        } else {
            Err(Cause::Private)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::respond;

    #[test]
    fn a_stun_server_or_a_web_service_can_be_asked() {
        for (text, shown) in [
            ("none", "none"),
            ("stun:[2001:db8::1]", "stun:[2001:db8::1]:3478"),
            ("https://ip.example.net", "https://ip.example.net/"),
        ] {
            let resolve: ResolveIp = text.parse().unwrap();
            assert_eq!(resolve.to_string(), shown);
            assert_eq!(shown.parse(), Ok(resolve));
        }
        for text in ["", "stun", "stun:", "turn:host", "host", "auto"] {
            assert!(text.parse::<ResolveIp>().is_err(), "{text}");
        }
        let error = "http://ip.example.net".parse::<ResolveIp>().unwrap_err();
        assert_eq!(error, InvalidResolveIp::Page(InvalidPage::Insecure));
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
