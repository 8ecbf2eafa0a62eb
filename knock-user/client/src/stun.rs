//! The address under which this host is seen, by STUN (RFC 8489).
//!
//! The answer is not authenticated. A wrong one binds the knock to a wrong address: it opens nothing
//! for this host, and whoever is at that address and records the knock can use it from there.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use crate::{
    server::Families,
    service::{Answer, Service, ServiceError},
};

/// The port of STUN.
pub(crate) const PORT: u16 = 3478;

/// The requests after the first, which double their distance (RFC 8489, section 6.2.1).
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1500)];

const HEADER: usize = 20;
const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// The random number of a request, which its answer repeats.
pub(crate) type Transaction = [u8; 12];

/// Asks `service` for the IPv4 or IPv6 address of this host.
///
/// # Errors
///
/// Returns [`ServiceError`] if there is no answer, or none with an address of this family.
pub(crate) fn address(service: &Service, families: Families) -> Result<IpAddr, ServiceError> {
    let mut transaction = Transaction::default();
    getrandom::fill(&mut transaction)
        .map_err(|error| ServiceError::Io(std::io::Error::other(error)))?;
    let mut request = [0; HEADER];
    request[..2].copy_from_slice(&BINDING_REQUEST.to_be_bytes());
    request[4..8].copy_from_slice(&COOKIE);
    request[8..].copy_from_slice(&transaction);
    service.ask(families, &request, &AGAIN, |packet| {
        match read(packet, transaction) {
            Answer::Good(ip) if !families.contain(ip) => {
                Answer::Bad("it answers with an address of the other family")
            }
            answer => answer,
        }
    })
}

pub(crate) fn read(packet: &[u8], transaction: Transaction) -> Answer<IpAddr> {
    let Some((header, rest)) = packet.split_first_chunk::<HEADER>() else {
        return Answer::Unrelated;
    };
    let [kind_0, kind_1, len_0, len_1, ..] = *header;
    if header[4..8] != COOKIE || header[8..] != transaction {
        return Answer::Unrelated;
    }
    // A truncated answer cannot be told from a forged one.
    let Some(attributes) = rest.get(..usize::from(u16::from_be_bytes([len_0, len_1]))) else {
        return Answer::Unrelated;
    };
    match u16::from_be_bytes([kind_0, kind_1]) {
        BINDING_SUCCESS => match mapped(attributes, transaction) {
            Some(ip) => Answer::Good(ip.to_canonical()),
            None => Answer::Bad("its answer contains no address"),
        },
        BINDING_ERROR => Answer::Bad("it refuses to tell the address"),
        _ => Answer::Unrelated,
    }
}

/// The address in the first XOR-MAPPED-ADDRESS.
fn mapped(mut attributes: &[u8], transaction: Transaction) -> Option<IpAddr> {
    loop {
        let (header, rest) = attributes.split_first_chunk::<4>()?;
        let [kind_0, kind_1, len_0, len_1] = *header;
        let len = usize::from(u16::from_be_bytes([len_0, len_1]));
        let value = rest.get(..len)?;
        if u16::from_be_bytes([kind_0, kind_1]) == XOR_MAPPED_ADDRESS {
            return unmasked(value, transaction);
        }
        // The last one may come without its padding.
        attributes = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// Removes the mask that keeps address translators from changing the address in the answer.
fn unmasked(value: &[u8], transaction: Transaction) -> Option<IpAddr> {
    let [_, family, _, _, address @ ..] = value else {
        return None;
    };
    let mask = COOKIE.into_iter().chain(transaction);
    let bytes: Vec<u8> = address.iter().zip(mask).map(|(a, b)| a ^ b).collect();
    match (*family, address.len()) {
        (IPV4, 4) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        (IPV6, 16) => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::respond;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len()).unwrap();
        let mut bytes = [kind.to_be_bytes(), len.to_be_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn xor_mapped(ip: IpAddr, transaction: &[u8]) -> Vec<u8> {
        let (family, octets) = match ip {
            IpAddr::V4(ip) => (IPV4, ip.octets().to_vec()),
            IpAddr::V6(ip) => (IPV6, ip.octets().to_vec()),
        };
        let mask = COOKIE.iter().chain(transaction);
        let masked = octets.iter().zip(mask).map(|(a, b)| a ^ b);
        let value = [0, family, 0x12, 0x34].into_iter().chain(masked);
        attribute(XOR_MAPPED_ADDRESS, &value.collect::<Vec<u8>>())
    }

    /// An answer of this kind to `request`.
    fn answer(request: &[u8], kind: u16, attributes: &[u8]) -> Vec<u8> {
        let len = u16::try_from(attributes.len()).unwrap();
        let head = [kind.to_be_bytes(), len.to_be_bytes()].concat();
        [&head, &request[4..20], attributes].concat()
    }

    fn good(request: &[u8], ip: IpAddr) -> Vec<u8> {
        let other = attribute(0x8022, b"software");
        let odd = attribute(0x8023, b"x");
        let attributes = [other, odd, xor_mapped(ip, &request[8..20])].concat();
        answer(request, BINDING_SUCCESS, &attributes)
    }

    fn asked(reply: impl Fn(&[u8], &dyn Fn(&[u8])) + Send + 'static) -> Result<IpAddr, String> {
        let server = respond(reply);
        let service = Service::parse(&server.to_string(), PORT).unwrap();
        address(&service, Families::Ipv4).map_err(|error| error.to_string())
    }

    #[test]
    fn the_address_is_read() {
        let found = asked(|request, send| {
            assert_eq!(request.len(), HEADER);
            assert_eq!(request[..8], [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
            send(&good(request, ip("192.0.2.7")));
        });
        assert_eq!(found, Ok(ip("192.0.2.7")));
    }

    /// The answers of RFC 5769, sections 2.2 and 2.3.
    #[test]
    fn the_test_vectors_of_the_rfc_are_read() {
        let transaction = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
        let request = [&[0; 4], &COOKIE[..], &transaction].concat();
        let ipv4 = b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43";
        let ipv6 = b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\
            \xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9";
        for (attribute, expected) in [
            (&ipv4[..], "192.0.2.1"),
            (&ipv6[..], "2001:db8:1234:5678:11:2233:4455:6677"),
        ] {
            let packet = answer(&request, BINDING_SUCCESS, attribute);
            let Answer::Good(found) = read(&packet, transaction) else {
                panic!("{expected}");
            };
            assert_eq!(found, ip(expected));
        }
    }

    #[test]
    fn a_forged_answer_is_ignored() {
        let found = asked(|request, send| {
            let forged = good(request, ip("203.0.113.1"));
            // Another transaction, no cookie, truncated, not an answer, and empty.
            let mut other = forged.clone();
            other[19] ^= 1;
            send(&other);
            let mut old = forged.clone();
            old[4] = 0;
            send(&old);
            send(&forged[..forged.len() - 1]);
            send(&answer(request, BINDING_REQUEST, &forged[20..]));
            send(request);
            send(&[]);
            send(&good(request, ip("192.0.2.7")));
        });
        assert_eq!(found, Ok(ip("192.0.2.7")));
    }

    #[test]
    fn an_answer_without_a_usable_address_is_named() {
        for (attributes, expected) in [
            (Vec::new(), "no address"),
            // MAPPED-ADDRESS, which translators may change.
            (attribute(1, &[0, 1, 0, 9, 192, 0, 2, 7]), "no address"),
            (attribute(0x20, &[0, 1, 0, 9, 192, 0, 2]), "no address"),
            (attribute(0x20, &[0, 3, 0, 9, 192, 0, 2, 7]), "no address"),
            (attribute(0x20, &[0, 2, 0, 9, 192, 0, 2, 7]), "no address"),
            (attribute(0x20, &[]), "no address"),
            // An attribute that is longer than the answer.
            (vec![0x80, 0x22, 0xff, 0xff], "no address"),
            (
                attribute(0x20, &[[0, 2, 0, 9].as_slice(), &[1; 16]].concat()),
                "other family",
            ),
        ] {
            let shown = format!("{attributes:?}");
            let found = asked(move |request, send| {
                send(&answer(request, BINDING_SUCCESS, &attributes));
            });
            let error = found.unwrap_err();
            assert!(error.contains(expected), "{shown}: {error}");
        }
        let found = asked(|request, send| send(&answer(request, BINDING_ERROR, &[])));
        assert!(found.unwrap_err().contains("refuses"));
    }

    #[test]
    fn a_lost_request_is_sent_again() {
        let found = {
            let lost = std::sync::atomic::AtomicBool::new(true);
            asked(move |request, send| {
                if !lost.swap(false, std::sync::atomic::Ordering::Relaxed) {
                    send(&good(request, ip("192.0.2.7")));
                }
            })
        };
        assert_eq!(found, Ok(ip("192.0.2.7")));
    }

    proptest! {
        #[test]
        fn any_packet_is_read_or_refused(packet: Vec<u8>, transaction: Transaction) {
            let _ = read(&packet, transaction);
        }

        #[test]
        fn any_attributes_are_read_or_refused(attributes in prop::collection::vec(any::<u8>(), 0..60)) {
            let request = [[0; 4].as_slice(), &COOKIE, &[7; 12]].concat();
            let packet = answer(&request, BINDING_SUCCESS, &attributes);
            prop_assert!(!matches!(read(&packet, [7; 12]), Answer::Unrelated));
        }

        #[test]
        fn every_address_is_read(ip: IpAddr, transaction: Transaction) {
            let request = [[0; 4].as_slice(), &COOKIE, &transaction].concat();
            let Answer::Good(found) = read(&good(&request, ip), transaction) else {
                return Err(TestCaseError::fail("not read"));
            };
            prop_assert_eq!(found, ip.to_canonical());
        }
    }
}
