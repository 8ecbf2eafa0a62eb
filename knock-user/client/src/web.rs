//! The address under which this host is seen, told by a web service over HTTPS.
//!
//! Only HTTPS is used: the server is authenticated by its certificate, so nobody on the path can
//! change the answer.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use thiserror::Error;
use ureq::{
    Agent,
    config::IpFamily,
    http::Uri,
    tls::{RootCerts, TlsConfig},
};

use crate::server::Families;

/// How long a web service may take. It needs more round trips than a datagram and its answer.
const LIMIT: Duration = Duration::from_secs(5);

/// More bytes than the text of an address and a line break have.
const MAX_ANSWER: u64 = 64;

/// The address of a page whose content is the IP address of whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page(String);

/// Why a text is not a valid [`Page`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidPage {
    /// It is not a web address.
    #[error("expected a web address, as in https://ip.example.net/")]
    Syntax,
    /// It does not begin with `https://`.
    #[error("only https:// is asked: over http:// anybody on the path can change the answer")]
    Insecure,
    /// It contains a user name, which may come with a password.
    #[error("a web address with a user name is not supported")]
    User,
}

impl FromStr for Page {
    type Err = InvalidPage;

    fn from_str(text: &str) -> Result<Self, InvalidPage> {
        let uri: Uri = text.parse().map_err(|_| InvalidPage::Syntax)?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), _) => Err(InvalidPage::Insecure),
            (Some("https"), Some(authority)) if authority.as_str().contains('@') => {
                Err(InvalidPage::User)
            }
            (Some("https"), Some(authority)) if !authority.host().is_empty() => {
                Ok(Self(uri.to_string()))
            }
            _ => Err(InvalidPage::Syntax),
        }
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a web service gave no address.
#[derive(Debug, Error)]
pub enum WebError {
    /// It did not answer in time.
    #[error("no answer within {} s", LIMIT.as_secs())]
    Silent,
    /// It answered with an error.
    #[error("it answers with HTTP status {0}")]
    Status(u16),
    /// Its answer is not an address, or not one of the family by which it was asked.
    #[error("its answer is not an {0} address")]
    NoAddress(&'static str),
    /// Its name, its certificate or the connection is at fault.
    #[error("{0}")]
    Request(ureq::Error),
}

impl From<ureq::Error> for WebError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Timeout(_) => Self::Silent,
            ureq::Error::StatusCode(status) => Self::Status(status),
            error => Self::Request(error),
        }
    }
}

/// Asks `page` over IPv4 or IPv6 for the address of this host. The system's certificate authorities
/// are trusted.
///
/// # Errors
///
/// Returns [`WebError`] if there is no answer, or none with an address of this family.
pub(crate) fn address(page: &Page, families: Families) -> Result<IpAddr, WebError> {
    ask(page, families, RootCerts::PlatformVerifier)
}

fn ask(page: &Page, families: Families, trusted: RootCerts) -> Result<IpAddr, WebError> {
    let (family, name) = match families {
        Families::Both => (IpFamily::Any, "IP"),
        Families::Ipv4 => (IpFamily::Ipv4Only, "IPv4"),
        Families::Ipv6 => (IpFamily::Ipv6Only, "IPv6"),
    };
    let tls = TlsConfig::builder()
        .root_certs(trusted)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let agent = Agent::config_builder()
        .tls_config(tls.build())
        .ip_family(family)
        .https_only(true)
        // Through a proxy, the service sees the address of the proxy.
        .proxy(None)
        .accept("text/plain")
        .timeout_global(Some(LIMIT))
        .build()
        .new_agent();
    let mut response = agent.get(&page.0).call()?;
    let body = response.body_mut().with_config().limit(MAX_ANSWER);
    let text = match body.read_to_string() {
        Err(ureq::Error::BodyExceedsLimit(_)) => Err(WebError::NoAddress(name)),
        text => Ok(text?),
    }?;
    let ip = text.trim().parse::<IpAddr>().ok();
    let ip = ip.map(|ip| ip.to_canonical());
    ip.filter(|ip| families.contain(*ip))
        .ok_or(WebError::NoAddress(name))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
        time::Instant,
    };

    use proptest::prelude::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::{
        ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivateKeyDer,
    };
    use ureq::tls::Certificate;

    use super::*;

    /// A web server on the loopback interface that answers one request with `answer`, and the roots
    /// by which its certificate is trusted.
    fn serve(answer: impl Into<String>) -> (Page, RootCerts) {
        let answer = answer.into();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let page = format!("https://{}/ip", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let connection = ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            let mut request = Vec::new();
            // A client that distrusts the certificate sends nothing.
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                match stream.read(&mut byte) {
                    Ok(1) => request.extend(byte),
                    _ => return,
                }
            }
            assert!(request.starts_with(b"GET /ip HTTP/1.1\r\n"));
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.flush();
            // Until the client is gone.
            let _ = stream.read(&mut [0]);
        });
        let root = Certificate::from_der(cert.der()).to_owned();
        (page.parse().unwrap(), RootCerts::new_with_certs(&[root]))
    }

    fn response(status: &str, body: &str) -> String {
        let len = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n\r\n{body}")
    }

    fn asked(answer: &str) -> Result<IpAddr, String> {
        let (page, trusted) = serve(answer);
        ask(&page, Families::Ipv4, trusted).map_err(|error| error.to_string())
    }

    #[test]
    fn the_address_is_the_content_of_the_page() {
        for body in ["192.0.2.7", "192.0.2.7\n", " ::ffff:192.0.2.7\r\n"] {
            let found = asked(&response("200 OK", body));
            assert_eq!(found, Ok("192.0.2.7".parse().unwrap()), "{body:?}");
        }
    }

    #[test]
    fn an_answer_without_a_usable_address_is_named() {
        let long = "192.0.2.7\n".repeat(10);
        for (answer, expected) in [
            (response("200 OK", ""), "not an IPv4 address"),
            (response("200 OK", "<html>"), "not an IPv4 address"),
            (response("200 OK", "2001:db8::7"), "not an IPv4 address"),
            (response("200 OK", &long), "not an IPv4 address"),
            (response("404 Not Found", "192.0.2.7"), "HTTP status 404"),
            ("nonsense\r\n\r\n".to_owned(), "http"),
        ] {
            let error = asked(&answer).unwrap_err();
            assert!(error.contains(expected), "{answer:?}: {error}");
        }
    }

    #[test]
    fn a_redirect_to_http_is_not_followed() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = other.local_addr().unwrap();
        let answer =
            format!("HTTP/1.1 302 Found\r\nLocation: http://{to}/\r\nContent-Length: 0\r\n\r\n");
        let error = asked(&answer).unwrap_err();
        assert!(error.contains("https"), "{error}");
        other.set_nonblocking(true).unwrap();
        assert!(other.accept().is_err(), "somebody has connected");
    }

    #[test]
    fn an_untrusted_certificate_is_refused() {
        let (page, _) = serve(response("200 OK", "192.0.2.7"));
        let (_, others) = serve(response("200 OK", "192.0.2.7"));
        for trusted in [others, RootCerts::PlatformVerifier] {
            let error = ask(&page, Families::Ipv4, trusted).unwrap_err();
            assert!(matches!(error, WebError::Request(_)), "{error}");
        }
    }

    #[test]
    fn silence_ends_after_the_limit() {
        let start = Instant::now();
        assert_eq!(asked("").unwrap_err(), "no answer within 5 s");
        let elapsed = start.elapsed();
        assert!(elapsed >= LIMIT && elapsed < 2 * LIMIT, "{elapsed:?}");
    }

    #[test]
    fn a_page_has_an_https_address() {
        let page: Page = "https://[2001:db8::1]:8443/ip?format=text".parse().unwrap();
        assert_eq!(
            page.to_string(),
            "https://[2001:db8::1]:8443/ip?format=text"
        );
        for (text, expected) in [
            ("http://ip.example.net", InvalidPage::Insecure),
            ("https://me:sesame@ip.example.net", InvalidPage::User),
            ("https://", InvalidPage::Syntax),
            ("https:", InvalidPage::Syntax),
            ("https://:443/", InvalidPage::Syntax),
            ("https://ip example.net", InvalidPage::Syntax),
            ("ftp://ip.example.net", InvalidPage::Syntax),
            ("ip.example.net", InvalidPage::Syntax),
        ] {
            assert_eq!(text.parse::<Page>(), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_page_or_not(text: String) {
            if let Ok(page) = text.parse::<Page>() {
                prop_assert_eq!(page.to_string().parse(), Ok(page));
            }
        }
    }
}
