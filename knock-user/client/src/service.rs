//! Servers that answer one question over UDP: what time is it, or what is my address.

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use knockd_credentials::host::InvalidHost;
use thiserror::Error;

use crate::server::{Families, LookupError, Server};

/// How long a service may take. Without the answer the client can do something else.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);

/// More than any answer has.
const MAX_ANSWER: usize = 1500;

/// The host and the port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    host: Server,
    port: u16,
}

/// Why a text does not name a service.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InvalidService {
    /// The host is not valid.
    #[error("the host: {0}")]
    Host(InvalidHost),
    /// The port is not a number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535, as in HOST:PORT or [IPv6]:PORT")]
    Port,
}

impl Service {
    /// Parses `HOST` or `HOST:PORT`. An IPv6 address with a port needs brackets.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidService`] if the host or the port is invalid.
    pub(crate) fn parse(text: &str, default_port: u16) -> Result<Self, InvalidService> {
        let (host, port) = match text.rsplit_once(':') {
            // Without brackets, several colons are an IPv6 address.
            Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            None => default_port,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(InvalidService::Port),
            },
            Some(_) => return Err(InvalidService::Port),
        };
        let host = host.parse().map_err(InvalidService::Host)?;
        Ok(Self { host, port })
    }

    /// Sends `request` and returns what `read` makes of the answer. Further requests are sent at
    /// the times in `again`, counted from the first one.
    ///
    /// # Errors
    ///
    /// Returns [`ServiceError`] if the host has no address, or none of them gives a good answer
    /// within [`LIMIT`].
    pub(crate) fn ask<T>(
        &self,
        families: Families,
        request: &[u8],
        again: &[Duration],
        mut read: impl FnMut(&[u8]) -> Answer<T>,
    ) -> Result<T, ServiceError> {
        let addresses = self.host.addresses(families, LIMIT)?;
        // Each has its share of the time. There are at most two.
        let limit = LIMIT / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut failure = ServiceError::Silent;
        for address in addresses {
            let to = address.with_port(self.port);
            match ask(to, request, limit, again, &mut read) {
                Ok(answer) => return Ok(answer),
                // A refusal is worth more than the silence of another address.
                Err(ServiceError::Silent) if !matches!(failure, ServiceError::Silent) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The text form, with the port. An IPv6 address is in brackets.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.as_str().contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// What a datagram from a service is.
pub(crate) enum Answer<T> {
    /// The answer to the request.
    Good(T),
    /// It answers the request, but not with what was asked for.
    Bad(&'static str),
    /// It does not belong to the request. Whoever guesses the port of the client can send it, so
    /// the genuine answer may still come.
    Unrelated,
}

/// Why a service gave no answer.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The host has no address.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The request cannot be sent, or the host refuses it.
    #[error("{0}")]
    Io(io::Error),
    /// It answered, but not with what was asked for.
    #[error("{0}")]
    Bad(&'static str),
    /// It did not answer in time.
    #[error("no answer within {} s", LIMIT.as_secs())]
    Silent,
}

fn ask<T>(
    to: SocketAddr,
    request: &[u8],
    limit: Duration,
    again: &[Duration],
    read: &mut impl FnMut(&[u8]) -> Answer<T>,
) -> Result<T, ServiceError> {
    let any: SocketAddr = if to.is_ipv6() {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).map_err(ServiceError::Io)?;
    // Connected, so that datagrams from elsewhere are dropped and a closed port is reported.
    socket.connect(to).map_err(ServiceError::Io)?;
    let start = Instant::now();
    let mut due = [Duration::ZERO].into_iter().chain(again.iter().copied());
    let mut next = due.next();
    let mut buffer = [0; MAX_ANSWER];
    loop {
        let elapsed = start.elapsed();
        if elapsed >= limit {
            return Err(ServiceError::Silent);
        }
        if next.is_some_and(|next| elapsed >= next) {
            socket.send(request).map_err(ServiceError::Io)?;
            next = due.next();
        }
        let wait = next.unwrap_or(limit).min(limit).saturating_sub(elapsed);
        // Zero would mean no limit.
        let wait = wait.max(Duration::from_millis(1));
        socket
            .set_read_timeout(Some(wait))
            .map_err(ServiceError::Io)?;
        match socket.recv(&mut buffer) {
            Ok(len) => match read(&buffer[..len]) {
                Answer::Good(answer) => return Ok(answer),
                Answer::Bad(reason) => return Err(ServiceError::Bad(reason)),
                Answer::Unrelated => {}
            },
            Err(error) if is_timeout(&error) || is_too_long(&error) => {}
            Err(error) => return Err(ServiceError::Io(error)),
        }
    }
}

/// Whether a datagram came that does not fit, which no answer is. Other systems than Windows cut it.
fn is_too_long(error: &io::Error) -> bool {
    // WSAEMSGSIZE (Microsoft, "Windows Sockets Error Codes"), which has no stable kind.
    cfg!(windows) && error.raw_os_error() == Some(10040)
}

/// Whether nothing has come. Unix and Windows report it differently.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::respond;

    fn service(text: &str) -> Service {
        Service::parse(text, 123).unwrap()
    }

    fn asked(service: &Service, again: &[Duration]) -> Result<u8, ServiceError> {
        service.ask(Families::Both, b"?", again, |answer| match answer {
            [b'=', value] => Answer::Good(*value),
            [b'!', ..] => Answer::Bad("it says no"),
            _ => Answer::Unrelated,
        })
    }

    #[test]
    fn a_service_is_a_host_and_maybe_a_port() {
        for (text, shown) in [
            ("pool.ntp.org", "pool.ntp.org:123"),
            ("192.0.2.1:1123", "192.0.2.1:1123"),
            ("2001:db8::1", "[2001:db8::1]:123"),
            ("[2001:db8::1]", "[2001:db8::1]:123"),
            ("[2001:db8::1]:1123", "[2001:db8::1]:1123"),
        ] {
            assert_eq!(service(text).to_string(), shown);
        }
        for text in [
            "",
            ":123",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "[::1",
            "a:b",
        ] {
            assert!(Service::parse(text, 123).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unrelated_datagram_does_not_hide_the_answer() {
        let address = respond(|_, reply| {
            reply(b"");
            reply(&[0; 2000]);
            reply(b"=7");
        });
        assert_eq!(asked(&service(&address.to_string()), &[]).unwrap(), b'7');
    }

    #[test]
    fn a_bad_answer_ends_the_wait() {
        let start = Instant::now();
        let address = respond(|_, reply| reply(b"!"));
        let error = asked(&service(&address.to_string()), &[]).unwrap_err();
        assert_eq!(error.to_string(), "it says no");
        assert!(start.elapsed() < LIMIT);
    }

    #[test]
    fn silence_ends_after_the_limit_however_much_arrives() {
        let start = Instant::now();
        let address = respond(|_, reply| {
            for _ in 0..250 {
                reply(b"noise");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let error = asked(&service(&address.to_string()), &[]).unwrap_err();
        assert_eq!(error.to_string(), "no answer within 2 s");
        let elapsed = start.elapsed();
        assert!(
            elapsed >= LIMIT && elapsed < LIMIT + LIMIT / 2,
            "{elapsed:?}"
        );
    }

    #[test]
    fn a_request_is_sent_again_only_if_that_is_wanted() {
        let second_only = || {
            let mut count = 0;
            respond(move |_, reply| {
                count += 1;
                if count == 2 {
                    reply(b"=2");
                }
            })
        };
        let again = [Duration::from_millis(50)];
        let address = service(&second_only().to_string());
        assert_eq!(asked(&address, &again).unwrap(), b'2');
        let address = service(&second_only().to_string());
        assert!(matches!(asked(&address, &[]), Err(ServiceError::Silent)));
    }

    #[cfg_attr(windows, ignore = "wine, in which this is tested, does not report it")]
    #[test]
    fn a_closed_port_is_reported_at_once() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let start = Instant::now();
        let result = asked(&service(&address.to_string()), &[]);
        assert!(matches!(result, Err(ServiceError::Io(_))), "{result:?}");
        assert!(start.elapsed() < LIMIT);
    }

    proptest! {
        #[test]
        fn any_text_is_a_service_or_not(text: String) {
            let _ = Service::parse(&text, 123);
        }

        #[test]
        fn every_service_is_read_as_it_is_shown(ip: std::net::IpAddr, name in "[a-z0-9]{1,9}([.-][a-z0-9]{1,9}){0,2}", port in 1..=u16::MAX) {
            for host in [ip.to_string(), name] {
                let service = Service { host: host.parse().unwrap(), port };
                prop_assert_eq!(Service::parse(&service.to_string(), 1), Ok(service));
            }
        }
    }
}
