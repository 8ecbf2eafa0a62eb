use core::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000_000;

fn pair(byte: u8) -> KeyPair {
    KeyPair::from(PrivateKey::new([byte; KEY_LEN]))
}

fn sealed(request: &Request, client: u8, server: u8, ephemeral: u8) -> [u8; DATAGRAM_LEN] {
    let ephemeral = PrivateKey::new([ephemeral; KEY_LEN]);
    request
        .seal(&pair(client), &pair(server).public(), ephemeral)
        .unwrap()
}

fn request() -> Request {
    Request {
        door: LongTag::of("ssh"),
        unix_ms: NOW,
        beneficiary: Beneficiary::Sender,
        lease: RequestedLease::DOORS_DEFAULT,
    }
}

fn requests() -> impl Strategy<Value = Request> {
    let address = any::<IpAddr>().prop_map(|address| address.to_canonical());
    let beneficiary = prop_oneof![
        Just(Beneficiary::Sender),
        address.clone().prop_map(Beneficiary::Bound),
        address.prop_map(Beneficiary::Other),
    ];
    (
        any::<[u8; 8]>(),
        any::<u64>(),
        beneficiary,
        any::<[u8; 4]>(),
    )
        .prop_map(|(door, unix_ms, beneficiary, lease)| Request {
            door: DoorTag(door),
            unix_ms,
            beneficiary,
            lease: RequestedLease::from_bytes(lease),
        })
}

#[test]
fn another_server_cannot_read_it() {
    let message = sealed(&request(), 1, 2, 9);
    assert_eq!(
        Request::open(&pair(2), &message),
        Ok((pair(1).public(), request()))
    );
    assert_eq!(Request::open(&pair(3), &message), Err(OpenError::Forged));
    assert_eq!(Request::open(&pair(1), &message), Err(OpenError::Forged));
}

#[test]
fn public_keys_of_low_order_are_refused() {
    let ephemeral = PrivateKey::new([9; KEY_LEN]);
    let sealed = request().seal(&pair(1), &PublicKey([0; KEY_LEN]), ephemeral);
    assert_eq!(sealed, Err(LowOrder));
    // With an ephemeral key of zeros everybody could compute the keys of the message.
    let mut message = self::sealed(&request(), 1, 2, 9);
    message[..KEY_LEN].fill(0);
    assert_eq!(Request::open(&pair(2), &message), Err(OpenError::Forged));
}

#[test]
fn only_known_versions_and_flags_are_read() {
    let good = request().encode();
    let changed = |place: usize, byte| {
        let mut bytes = *good;
        bytes[place] = byte;
        Request::decode(&bytes)
    };
    assert_eq!(changed(0, 2), Ok(request()));
    for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
        assert_eq!(
            changed(0, version),
            Err(InvalidRequest::UnknownVersion(version))
        );
    }
    for flags in (0..=u8::MAX).filter(|flags| ![0, 1, 3].contains(flags)) {
        assert_eq!(changed(1, flags), Err(InvalidRequest::Malformed));
    }
    for place in 38..REQUEST_LEN {
        assert_eq!(changed(place, 1), Err(InvalidRequest::Malformed));
    }
    // An address without its flag.
    assert_eq!(changed(20, 1), Err(InvalidRequest::Malformed));
}

#[test]
fn an_ipv4_address_has_one_form() {
    let v4 = Ipv4Addr::new(192, 0, 2, 7);
    let of = |address| Request {
        beneficiary: Beneficiary::Bound(address),
        ..request()
    };
    let mapped = of(v4.to_ipv6_mapped().into()).encode();
    assert_eq!(of(v4.into()).encode(), mapped);
    assert_eq!(Request::decode(&mapped), Ok(of(v4.into())));
}

#[test]
fn time_is_checked_on_both_sides() {
    let skew = Duration::from_secs(60);
    for (now, checked) in [
        (NOW, Ok(())),
        (NOW + 60_000, Ok(())),
        (NOW - 60_000, Ok(())),
        (NOW + 60_001, Err(Stale { age_ms: 60_001 })),
        (NOW - 60_001, Err(Stale { age_ms: -60_001 })),
    ] {
        assert_eq!(request().check_time(now, skew), checked);
    }
    let last = Request {
        unix_ms: u64::MAX,
        ..request()
    };
    assert_eq!(last.age_ms(0), i64::MIN);
    assert_eq!(last.age_ms(u64::MAX), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn opens_what_was_sealed(request in requests(), client: u8, server: u8, ephemeral: u8) {
        let message = sealed(&request, client, server, ephemeral);
        let opened = Request::open(&pair(server), &message);
        prop_assert_eq!(opened, Ok((pair(client).public(), request)));
    }

    #[test]
    fn a_changed_message_is_refused(place in 0..MESSAGE_LEN, bit in 0..8) {
        let mut message = sealed(&request(), 1, 2, 9);
        message[place] ^= 1_u8 << bit;
        // The highest bit of a public key does not count (RFC 7748, section 5), but is hashed.
        prop_assert_eq!(Request::open(&pair(2), &message), Err(OpenError::Forged));
    }

    #[test]
    fn random_messages_are_refused(message in prop::array::uniform32(any::<[u8; 4]>())) {
        let mut bytes = [7; DATAGRAM_LEN];
        bytes[..128].copy_from_slice(message.as_flattened());
        prop_assert_eq!(Request::open(&pair(2), &bytes), Err(OpenError::Forged));
    }
}

proptest! {
    #[test]
    fn every_request_has_one_encoding(mut bytes in prop::array::uniform32(any::<u8>()), flags: u8) {
        bytes[0] = VERSION;
        bytes[1] = flags & 3;
        let mut request = [0; REQUEST_LEN];
        request[..32].copy_from_slice(&bytes);
        if let Ok(decoded) = Request::decode(&request) {
            prop_assert_eq!(*decoded.encode(), request);
        }
    }

    #[test]
    fn decodes_what_was_encoded(request in requests()) {
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
}
