//! Names and addresses of servers, as a person writes them.
//!
//! The server that makes an invitation and the client that reads it share this parser, so that no
//! invitation contains a host that a client refuses.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use thiserror::Error;
use unicode_normalization::char::is_combining_mark;

/// What names may contain beside letters, digits and marks: a joiner and a non-joiner, the middle dot
/// of Catalan, and the full stop of Chinese and Japanese.
const JOINING: &str = "\u{200c}\u{200d}\u{b7}\u{3002}";

/// A host name, or an IP address without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(String);

/// Why a text is not a valid host.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InvalidHost {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It includes a port.
    #[error("a knock uses its own ports: omit the port {0}")]
    Port(String),
    /// It is an invitation.
    #[error("this is an invitation, which is secret: run `knock import` and paste it there")]
    Invitation,
    /// It is a URL.
    #[error("only the name or address is needed: omit what is before and with `://`, and any path")]
    Url,
    /// It includes a user.
    #[error("a knock has no user: omit what is before and with the `@`")]
    User,
    /// The text after the colon is not a port. It is not shown, because it may be a key.
    #[error("a colon is only valid in an IPv6 address")]
    Colon,
    /// There are colons, but not as in an IPv6 address.
    #[error("it has several colons and is no IPv6 address")]
    Ipv6,
    /// An IPv6 address that is valid on a single link only, without the interface.
    #[error("a link-local address needs the interface of this host, as in fe80::1%eth0")]
    NoZone,
    /// There are brackets, but not as in `[2001:db8::1]`.
    #[error("brackets are only valid around an IPv6 address, as in [2001:db8::1]")]
    Brackets,
    /// It has letters beyond ASCII, but is no internationalised name.
    #[error(
        "it is no valid internationalised name: write it in its ASCII form, which begins with xn--"
    )]
    Internationalised,
    /// A character that no name has.
    #[error("{0:?} is not valid in a host name")]
    Character(char),
    /// It begins with a hyphen or has an empty part.
    #[error("a host name consists of parts between single dots, and begins with no hyphen")]
    Parts,
}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if text.is_empty() {
            return Err(InvalidHost::Empty);
        }
        if text.starts_with("knock:") {
            return Err(InvalidHost::Invitation);
        }
        if text.contains("://") {
            return Err(InvalidHost::Url);
        }
        if text.contains('@') {
            return Err(InvalidHost::User);
        }
        if let Some(rest) = text.strip_prefix('[') {
            return match rest.split_once(']') {
                Some((address, "")) if address.contains(':') => Self::ipv6(address),
                Some((_, port)) if is_port(port) => Err(InvalidHost::Port(port.to_owned())),
                _ => Err(InvalidHost::Brackets),
            };
        }
        match text.find(':').map(|colon| &text[colon..]) {
            Some(port) if is_port(port) => Err(InvalidHost::Port(port.to_owned())),
            // An IPv6 address has at least two colons.
            Some(rest) if rest.matches(':').count() == 1 => Err(InvalidHost::Colon),
            _ if text.ends_with(']') => Err(InvalidHost::Brackets),
            Some(_) => Self::ipv6(text),
            None => Self::name(text),
        }
    }
}

/// Whether `text` looks like `:22` or `:ssh`. A service name has at most 15 characters (RFC 6335,
/// section 5.1).
fn is_port(text: &str) -> bool {
    text.strip_prefix(':')
        .is_some_and(|port| port.len() <= 15 && !port.contains(':'))
}

impl Host {
    /// An IPv6 address, with or without a zone.
    fn ipv6(text: &str) -> Result<Self, InvalidHost> {
        let (address, zone) = match text.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (text, None),
        };
        let address: Ipv6Addr = address.parse().map_err(|_| InvalidHost::Ipv6)?;
        match zone {
            Some("") => return Err(InvalidHost::NoZone),
            None if address.is_unicast_link_local() => return Err(InvalidHost::NoZone),
            _ => {}
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if let Some(c) = zone.unwrap_or_default().chars().find(|c| !is_plain(*c)) {
            return Err(InvalidHost::Character(c));
        }
        Ok(Self(text.to_owned()))
    }

    /// A name, or an IPv4 address. A dot at the end keeps a resolver from adding its search domains.
    fn name(text: &str) -> Result<Self, InvalidHost> {
        if !text.is_ascii() {
            return Self::internationalised(text);
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if let Some(c) = text.chars().find(|c| !is_plain(*c)) {
            return Err(InvalidHost::Character(c));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.starts_with('-') || name.split('.').any(str::is_empty) {
            return Err(InvalidHost::Parts);
        }
        Ok(Self(text.to_owned()))
    }

    /// The ASCII form of a name beyond ASCII (UTS #46), which every resolver understands.
    fn internationalised(text: &str) -> Result<Self, InvalidHost> {
        // UTS #46 takes more, such as quotation marks, which only a slip of the hand puts there.
        let is_stray = |c: &char| {
            !(c.is_ascii() || c.is_alphanumeric() || is_combining_mark(*c) || JOINING.contains(*c))
        };
        if let Some(c) = text.chars().find(is_stray) {
            return Err(InvalidHost::Character(c));
        }
        let ascii = Uts46::new().to_ascii(
            text.as_bytes(),
            AsciiDenyList::EMPTY,
            Hyphens::Allow,
            DnsLength::VerifyAllowRootDot,
        );
        Self::name(&ascii.map_err(|_| InvalidHost::Internationalised)?)
    }

    /// The name or address, an IPv6 address without brackets. A name is in ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_names_and_addresses() {
        for (text, host) in [
            ("192.0.2.7", "192.0.2.7"),
            ("example.net", "example.net"),
            ("example.net.", "example.net."),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("Bu\u{308}cher.Example.", "xn--bcher-kva.example."),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("نامه\u{200c}ای.example", "xn--mgba3gch31f060k.example"),
            ("my_host", "my_host"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
            ("[fe80::1%eth0]", "fe80::1%eth0"),
            ("fe80::1%eth0.5", "fe80::1%eth0.5"),
        ] {
            assert_eq!(text.parse(), Ok(Host(host.to_owned())), "{text}");
        }
    }

    #[test]
    fn refuses_what_names_no_host_with_the_reason() {
        let refused = |text: &str| text.parse::<Host>().unwrap_err();
        assert_eq!(refused(""), InvalidHost::Empty);
        for (text, port) in [
            ("host:22", ":22"),
            ("192.0.2.7:22", ":22"),
            ("[::1]:22", ":22"),
        ] {
            assert_eq!(refused(text), InvalidHost::Port(port.to_owned()));
        }
        for text in ["host:AAECAwQFBgcICQoLDA0O", "knock2:AAECAwQFBgcICQoLDA0O"] {
            assert_eq!(refused(text), InvalidHost::Colon);
        }
        let invitation = "knock://laptop@host:61000?server=AAECAw";
        assert_eq!(refused(invitation), InvalidHost::Invitation);
        for text in ["[", "[]", "[::1", "::1]", "host]", "[host]", "[::1]22"] {
            assert_eq!(refused(text), InvalidHost::Brackets, "{text}");
        }
        for (text, reason) in [
            ("http://example.org", InvalidHost::Url),
            ("ssh://example.org", InvalidHost::Url),
            ("root@example.org", InvalidHost::User),
            ("a:b:c", InvalidHost::Ipv6),
            ("[2001:db8:1]", InvalidHost::Ipv6),
            ("fe80::1", InvalidHost::NoZone),
            ("[fe80::1]", InvalidHost::NoZone),
            ("fe80::1%", InvalidHost::NoZone),
            ("fe80::1%a b", InvalidHost::Character(' ')),
            ("a b", InvalidHost::Character(' ')),
            ("a/b", InvalidHost::Character('/')),
            ("192.0.2.7%eth0", InvalidHost::Character('%')),
            ("“bücher.example”", InvalidHost::Character('“')),
            ("bücher example", InvalidHost::Character(' ')),
            ("bücher@example", InvalidHost::User),
            ("\u{308}a.example", InvalidHost::Internationalised),
            ("xn--a-ecp.ü", InvalidHost::Internationalised),
            ("bücher..example", InvalidHost::Internationalised),
            ("-oProxyCommand", InvalidHost::Parts),
            (".", InvalidHost::Parts),
            ("..", InvalidHost::Parts),
            ("a..b", InvalidHost::Parts),
            ("example.org..", InvalidHost::Parts),
        ] {
            assert_eq!(refused(text), reason, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_itself_or_refused(text: String) {
            if let Ok(host) = text.parse::<Host>() {
                prop_assert!(host.as_str().is_ascii());
                prop_assert_eq!(host.to_string().parse(), Ok(host));
            }
        }

        #[test]
        fn any_address_is_read(ip: IpAddr) {
            let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
            prop_assert_eq!(ip.to_string().parse::<Host>().is_err(), is_link_local);
        }
    }
}
