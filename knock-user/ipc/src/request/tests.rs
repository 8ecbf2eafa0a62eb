use proptest::prelude::*;

use super::*;

fn requests() -> impl Strategy<Value = Request> {
    let source = any::<IpAddr>()
        .prop_map(|source| source.to_canonical())
        .prop_filter("not a single host", |source| is_unicast(*source));
    let lease = (1..=MAX_LEASE.as_secs()).prop_map(Duration::from_secs);
    let at = any::<u64>().prop_map(Duration::from_nanos);
    let door = any::<u32>().prop_filter("stands for all", |door| *door != EVERY_DOOR);
    prop_oneof![
        Just(Request::Ready),
        Just(Request::Flush),
        Just(Request::Ended),
        Just(Request::Alive),
        any::<bool>().prop_map(Request::Follow),
        any::<bool>().prop_map(Request::Notify),
        any::<u32>().prop_map(|query| Request::Reload(ReloadConfig { query })),
        (any::<u32>(), any::<bool>()).prop_map(|(query, count_leases)| {
            Request::Report(GetReport {
                query,
                count_leases,
            })
        }),
        (any::<u32>(), proptest::option::of(door), source.clone()).prop_map(
            |(query, door, source)| Request::Close(CloseDoors {
                query,
                door,
                source
            })
        ),
        (any::<[u32; 2]>(), source.clone()).prop_map(|([door, client], source)| {
            Request::Withdraw(WithdrawDoor {
                door,
                client,
                source,
            })
        }),
        (
            any::<[u32; 3]>(),
            [source.clone(), source.clone()],
            lease.clone(),
            at,
            any::<bool>()
        )
            .prop_map(
                |([query, door, client], [source, sender], lease, at, is_datagram)| {
                    Request::Open(OpenDoor {
                        query,
                        door,
                        client,
                        source,
                        lease,
                        at,
                        sender,
                        is_datagram,
                    })
                }
            ),
        (any::<[u32; 2]>(), [source.clone(), source], lease).prop_map(
            |([door, client], [source, sender], lease)| Request::Mirror(MirrorDoor {
                door,
                client,
                source,
                lease,
                sender,
            })
        ),
        any::<u32>().prop_map(|client| Request::Expel(ExpelClient { client })),
    ]
}

proptest! {
    #[test]
    fn a_request_survives_the_channel(request in requests()) {
        prop_assert_eq!(Request::from_bytes(&request.to_bytes()), Ok(request));
        prop_assert_eq!(request.to_bytes()[0], request.kind().to_byte());
    }

    #[test]
    fn any_bytes_are_one_request_in_its_only_encoding_or_invalid(bytes: [u8; REQUEST_LEN], kind in 0..15_u8) {
        let mut bytes = bytes;
        bytes[0] = kind;
        if let Ok(request) = Request::from_bytes(&bytes) {
            prop_assert_eq!(request.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_byte_too_many_or_too_few_is_invalid(request in requests(), len in 0..2 * REQUEST_LEN) {
        let mut bytes = request.to_bytes().to_vec();
        bytes.resize(len, 0);
        prop_assert_eq!(Request::from_bytes(&bytes).is_ok(), len == REQUEST_LEN);
    }

    #[test]
    fn a_kind_without_arguments_has_none(at in 1..REQUEST_LEN, byte in 1..=u8::MAX) {
        for request in [Request::Ready, Request::Flush, Request::Ended, Request::Alive] {
            let mut bytes = request.to_bytes();
            bytes[at] = byte;
            let invalid = InvalidRequest::Excess(request.kind());
            prop_assert_eq!(Request::from_bytes(&bytes), Err(invalid));
        }
    }
}

#[test]
fn an_unknown_kind_is_invalid() {
    for kind in [0, 14, 0xff] {
        let mut bytes = [0; REQUEST_LEN];
        bytes[0] = kind;
        assert_eq!(Request::from_bytes(&bytes), Err(InvalidRequest::Kind(kind)));
    }
}

#[test]
fn a_source_or_lease_that_no_door_opens_for_is_invalid() {
    let open_from = |sender: &str, source: &str, seconds| {
        let request = Request::Open(OpenDoor {
            query: 0,
            door: 0,
            client: 1,
            source: source.parse().unwrap(),
            lease: Duration::from_secs(seconds),
            at: Duration::ZERO,
            sender: sender.parse().unwrap(),
            is_datagram: false,
        });
        Request::from_bytes(&request.to_bytes())
    };
    let open = |source, seconds| open_from("192.0.2.8", source, seconds);
    for seconds in [1, MAX_LEASE.as_secs()] {
        assert!(open("192.0.2.7", seconds).is_ok());
    }
    for source in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"] {
        let invalid = InvalidRequest::Source(source.parse().unwrap());
        assert_eq!(open(source, 1), Err(invalid));
        assert_eq!(open_from(source, "192.0.2.7", 1), Err(invalid));
    }
    for seconds in [0, MAX_LEASE.as_secs() + 1, u64::MAX] {
        assert_eq!(
            open("192.0.2.7", seconds),
            Err(InvalidRequest::Lease(seconds))
        );
    }
}
