use knock_common::protocol::{
    key::SecretKey,
    sealed::{Binding, RequestedLease, Time40},
};
use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000_000;
const SKEW: Duration = Duration::from_secs(60);
const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const LEASE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

const LAPTOP: usize = 0;
const PHONE: usize = 1;
const TABLET: usize = 2;
const SSH: usize = 0;
const WEB: usize = 1;

fn secret(client: usize) -> SecretKey {
    SecretKey::new([u8::try_from(client).unwrap(); 32])
}

fn classic_key(passphrase: &str) -> ClassicKey {
    ClassicKey::from_passphrase(passphrase.as_bytes())
}

fn sequence(bytes: &[u8]) -> Sequence {
    Sequence::new(bytes).unwrap()
}

/// Two sealed clients and a classic one; `web` is for the phone alone and requires a binding.
fn authenticator() -> Authenticator {
    Authenticator {
        keys: vec![
            Key::Sealed(SealedKey::new(&secret(LAPTOP))),
            Key::Sealed(SealedKey::new(&secret(PHONE))),
            Key::Classic(classic_key("tablet's")),
        ],
        tags: [(DoorTag::of("ssh"), SSH), (DoorTag::of("web"), WEB)].into(),
        doors: vec![
            Rule {
                sequence: Some(sequence(&[1, 2, 3, 4])),
                clients: vec![LAPTOP, PHONE, TABLET],
                lease: LEASE,
                max_lease: HOUR,
                require_binding: false,
            },
            Rule {
                sequence: Some(sequence(&[9])),
                clients: vec![PHONE],
                lease: LEASE,
                max_lease: LEASE,
                require_binding: true,
            },
        ],
    }
}

fn request(door: &str) -> Request {
    Request {
        door: DoorTag::of(door),
        time: Time40::from_unix_ms(NOW),
        binding: Binding::to(SOURCE).unwrap(),
        lease: RequestedLease::DoorsDefault,
        random: 0,
    }
}

const ARRIVAL: Arrival = Arrival {
    source: SOURCE,
    now: NOW,
    max_skew: SKEW,
};

fn verify(client: usize, request: Request) -> Result<Verified, Refusal> {
    verify_at(client, request, &ARRIVAL)
}

fn verify_at(client: usize, request: Request, arrival: &Arrival) -> Result<Verified, Refusal> {
    let block = request.seal(&SealedKey::new(&secret(client)));
    let verified = authenticator().verify(&block, arrival);
    if let Err(refused) = verified {
        // The client is known as soon as its key fits.
        let known = refused.why != Refusal::BadParity;
        assert_eq!(refused.client, known.then_some(client));
    }
    verified.map_err(|refused| refused.why)
}

fn verified(client: usize, door: usize) -> Verified {
    Verified {
        client,
        door,
        lease: LEASE,
        made_at: Some(NOW),
        is_bound: true,
    }
}

#[test]
fn the_right_key_opens_its_doors() {
    assert_eq!(verify(LAPTOP, request("ssh")), Ok(verified(LAPTOP, SSH)));
    assert_eq!(verify(PHONE, request("ssh")), Ok(verified(PHONE, SSH)));
    assert_eq!(verify(PHONE, request("web")), Ok(verified(PHONE, WEB)));
}

#[test]
fn every_wrong_field_is_refused_with_its_reason() {
    let bound_elsewhere = Binding::to([192, 0, 2, 8].into()).unwrap();
    let ssh = request("ssh");
    let web = request("web");
    for (client, request, refusal) in [
        (7, ssh, Refusal::BadParity),
        (LAPTOP, request("unknown door"), Refusal::UnknownTag),
        (LAPTOP, web, Refusal::ClientNotAllowed),
        (
            LAPTOP,
            Request {
                time: Time40::from_unix_ms(NOW - 60_001),
                ..ssh
            },
            Refusal::Stale { age_ms: 60_001 },
        ),
        (
            LAPTOP,
            Request {
                time: Time40::from_unix_ms(NOW + 60_001),
                ..ssh
            },
            Refusal::Stale { age_ms: -60_001 },
        ),
        (
            LAPTOP,
            Request {
                binding: bound_elsewhere,
                ..ssh
            },
            Refusal::BoundElsewhere,
        ),
        (
            PHONE,
            Request {
                binding: Binding::Unbound,
                ..web
            },
            Refusal::NotBound,
        ),
    ] {
        assert_eq!(verify(client, request), Err(refusal), "{request:?}");
    }
}

fn knock_made(offset_ms: i64) -> Request {
    Request {
        time: Time40::from_unix_ms(NOW.saturating_add_signed(offset_ms)),
        ..request("ssh")
    }
}

#[test]
fn the_edges_of_the_skew_are_inside() {
    for offset in [-60_000, 0, 60_000] {
        let knock = verify(LAPTOP, knock_made(offset)).unwrap();
        assert_eq!(knock.made_at, Some(NOW.saturating_add_signed(offset)));
    }
}

#[test]
fn time_wraps_around() {
    let wrap = 2 << 40;
    let arrival = Arrival {
        now: wrap + 1000,
        ..ARRIVAL
    };
    let made_before = Request {
        time: Time40::from_unix_ms(wrap - 1000),
        ..request("ssh")
    };
    let knock = verify_at(LAPTOP, made_before, &arrival).unwrap();
    assert_eq!(knock.made_at, Some(wrap - 1000));
    let arrival = Arrival {
        now: wrap - 1000,
        ..ARRIVAL
    };
    let made_after = Request {
        time: Time40::from_unix_ms(wrap + 1000),
        ..request("ssh")
    };
    assert_eq!(
        verify_at(LAPTOP, made_after, &arrival).unwrap().made_at,
        Some(wrap + 1000)
    );
}

#[test]
fn unbound_knocks_and_both_address_families_are_allowed() {
    let unbound = Request {
        binding: Binding::Unbound,
        ..request("ssh")
    };
    let v6: IpAddr = "2001:db8::7".parse().unwrap();
    for source in [SOURCE, [198, 51, 100, 9].into(), v6] {
        assert!(verify_at(LAPTOP, unbound, &Arrival { source, ..ARRIVAL }).is_ok());
    }
    let bound = Request {
        binding: Binding::to(v6).unwrap(),
        ..request("ssh")
    };
    assert!(
        verify_at(
            LAPTOP,
            bound,
            &Arrival {
                source: v6,
                ..ARRIVAL
            }
        )
        .is_ok()
    );
    assert_eq!(verify(LAPTOP, bound), Err(Refusal::BoundElsewhere));
}

#[test]
fn a_requested_lease_is_capped_by_the_door() {
    for (requested, lease) in [(10, 10), (600, 600), (65_535, 3600)] {
        let requested = RequestedLease::of(Duration::from_secs(requested)).unwrap();
        let knock = verify(
            LAPTOP,
            Request {
                lease: requested,
                ..request("ssh")
            },
        )
        .unwrap();
        assert_eq!(knock.lease, Duration::from_secs(lease));
    }
}

#[test]
fn classic_knocks_open_by_sequence() {
    let authenticator = authenticator();
    let verify = |passphrase, bytes: &[u8]| {
        let block = classic_key(passphrase).encipher(sequence(bytes).plaintext());
        authenticator
            .verify(&block, &ARRIVAL)
            .map_err(|refused| refused.why)
    };
    let knock = Verified {
        made_at: None,
        is_bound: false,
        ..verified(TABLET, SSH)
    };
    assert_eq!(verify("tablet's", &[1, 2, 3, 4]), Ok(knock));
    let not_allowed = Refusal::ClientNotAllowed;
    assert_eq!(verify("tablet's", &[9]), Err(not_allowed));
    assert_eq!(
        verify("tablet's", &[1, 2, 3]),
        Err(Refusal::UnknownSequence)
    );
    assert_eq!(verify("another", &[1, 2, 3, 4]), Err(Refusal::BadParity));
}

#[test]
fn a_stale_knock_is_reported_with_its_age() {
    for (age_ms, end) in [
        (61_000, "stale by 61.0 s: check the client's clock"),
        (
            -3_600_000,
            "stale: made 3600.0 s in the future: check the client's clock",
        ),
        (i64::MAX, "an old knock sent again, or noise"),
    ] {
        let text = Refusal::Stale { age_ms }.to_string();
        assert!(text.ends_with(end), "{text}");
    }
}

proptest! {
    #[test]
    fn random_blocks_are_refused(block: [u8; 16]) {
        prop_assert!(authenticator().verify(&Block(block), &ARRIVAL).is_err());
    }

    #[test]
    fn a_flipped_bit_is_refused(bit in 0_usize..128) {
        let mut block = request("ssh").seal(&SealedKey::new(&secret(LAPTOP)));
        block.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(authenticator().verify(&block, &ARRIVAL).is_err());
    }
}
