use knock_common::protocol::{
    classic::{ClassicKey, ClassicSecret},
    lease::ShortLease,
    syn::{Binding, SynSecret, Time40},
};
use knockd_types::policy::{Door, Peer, ServerKey};
use proptest::prelude::*;

use super::*;

mod conditions;

pub(super) const NOW: u64 = 1_800_000_000_000;
const SKEW: Duration = Duration::from_secs(60);
pub(super) const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
pub(super) const LEASE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

pub(super) const LAPTOP: usize = 0;
pub(super) const PHONE: usize = 1;
const TABLET: usize = 2;
pub(super) const SSH: usize = 0;
pub(super) const WEB: usize = 1;

pub(super) fn pair(byte: usize) -> KeyPair {
    KeyPair::from(PrivateKey::new([u8::try_from(byte).unwrap(); 32]))
}

pub(super) fn server() -> KeyPair {
    pair(99)
}

fn key(client: usize) -> SynKey {
    SynKey::new(&SynSecret::of_client(&pair(client), &server().public()).unwrap())
}

fn classic_key(passphrase: &str) -> ClassicKey {
    ClassicKey::from_passphrase(passphrase.as_bytes())
}

fn sequence(bytes: &[u8]) -> Sequence {
    Sequence::new(bytes).unwrap()
}

/// Two clients with key pairs and a classic one; `web` is for the phone alone, requires a binding,
/// and opens for other addresses.
pub(super) fn policy() -> Policy {
    let secrets = [
        Secret::Pair(peer(LAPTOP)),
        Secret::Pair(peer(PHONE)),
        Secret::Classic(ClassicSecret::from_passphrase(b"tablet's")),
    ];
    let clients = secrets.into_iter().zip(1..).map(|(secret, number)| Client {
        number,
        name: format!("client-{number}"),
        secret,
        previous: None,
        conditions: Conditions::default(),
    });
    Policy {
        clients: clients.collect(),
        server: Some(ServerKey(PrivateKey::new(*server().private().expose()))),
        doors: vec![
            Door {
                number: 1,
                name: "ssh".into(),
                sequence: Some(sequence(&[1, 2, 3, 4])),
                clients: vec![LAPTOP, PHONE, TABLET],
                lease: LEASE,
                max_lease: HOUR,
                require_binding: false,
                allow_other: false,
                everywhere: true,
            },
            Door {
                number: 2,
                name: "web".into(),
                sequence: Some(sequence(&[9])),
                clients: vec![PHONE],
                lease: LEASE,
                max_lease: LEASE,
                require_binding: true,
                allow_other: true,
                everywhere: true,
            },
        ],
    }
}

fn peer(client: usize) -> Peer {
    let public = pair(client).public();
    Peer {
        public,
        syn: SynSecret::of_server(&server(), &public).unwrap(),
    }
}

pub(super) fn authenticator() -> Authenticator {
    Authenticator::new(&policy())
}

fn request(client: usize, door: &str) -> Request {
    Request {
        door: ShortTag::of(door),
        time: Time40::from_unix_ms(NOW),
        binding: Binding::to(SOURCE, &key(client)),
        lease: ShortLease::DOORS_DEFAULT,
        random: 0,
    }
}

pub(super) const ARRIVAL: Arrival = Arrival {
    source: SOURCE,
    now: NOW,
    max_skew: SKEW,
};

fn verify(client: usize, request: Request) -> Result<Verified, Refusal> {
    verify_at(client, request, &ARRIVAL)
}

fn verify_at(client: usize, request: Request, arrival: &Arrival) -> Result<Verified, Refusal> {
    let block = request.seal(&key(client));
    let verified = verify_block(block, arrival);
    if let Err(refused) = verified {
        // The client is known as soon as its key fits.
        let known = refused.why != Refusal::BadParity;
        assert_eq!(refused.client, known.then_some(client));
    }
    verified.map_err(|refused| refused.why)
}

fn verify_block(block: Block, arrival: &Arrival) -> Result<Verified, Refused> {
    let arrival = *arrival;
    authenticator().verify(&[Attempt { block, arrival }])[0]
}

fn verified(client: usize, door: usize) -> Verified {
    Verified {
        client,
        door,
        beneficiary: SOURCE,
        wish: Wish::Open(LEASE),
        single_use: None,
        is_bound: true,
        old_key_until: None,
    }
}

/// `knock` without what identifies it.
fn anonymous(knock: Verified) -> Verified {
    assert_eq!(knock.single_use.map(|knock| knock.made_at), Some(NOW));
    Verified {
        single_use: None,
        ..knock
    }
}

#[test]
fn the_right_key_opens_its_doors() {
    for (client, name, door) in [
        (LAPTOP, "ssh", SSH),
        (PHONE, "ssh", SSH),
        (PHONE, "web", WEB),
    ] {
        let knock = verify(client, request(client, name)).unwrap();
        assert_eq!(anonymous(knock), verified(client, door));
    }
}

#[test]
fn every_wrong_field_is_refused_with_its_reason() {
    let bound_elsewhere = Binding::to([192, 0, 2, 8].into(), &key(LAPTOP));
    let ssh = request(LAPTOP, "ssh");
    let web = request(PHONE, "web");
    for (client, request, refusal) in [
        (7, ssh, Refusal::BadParity),
        (LAPTOP, request(LAPTOP, "unknown door"), Refusal::UnknownTag),
        (LAPTOP, web, Refusal::ClientNotAllowed),
        // Bound to the right address, but under the key of another client.
        (PHONE, ssh, Refusal::BoundElsewhere),
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
        ..request(LAPTOP, "ssh")
    }
}

#[test]
fn the_edges_of_the_skew_are_inside() {
    for offset in [-60_000, 0, 60_000] {
        let knock = verify(LAPTOP, knock_made(offset)).unwrap();
        assert_eq!(made_at(&knock), NOW.saturating_add_signed(offset));
    }
}

fn made_at(knock: &Verified) -> u64 {
    knock.single_use.unwrap().made_at
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
        ..request(LAPTOP, "ssh")
    };
    let knock = verify_at(LAPTOP, made_before, &arrival).unwrap();
    assert_eq!(made_at(&knock), wrap - 1000);
    let arrival = Arrival {
        now: wrap - 1000,
        ..ARRIVAL
    };
    let made_after = Request {
        time: Time40::from_unix_ms(wrap + 1000),
        ..request(LAPTOP, "ssh")
    };
    let knock = verify_at(LAPTOP, made_after, &arrival).unwrap();
    assert_eq!(made_at(&knock), wrap + 1000);
}

#[test]
fn unbound_knocks_and_both_address_families_are_allowed() {
    let unbound = Request {
        binding: Binding::Unbound,
        ..request(LAPTOP, "ssh")
    };
    let v6: IpAddr = "2001:db8::7".parse().unwrap();
    for source in [SOURCE, [198, 51, 100, 9].into(), v6] {
        assert!(verify_at(LAPTOP, unbound, &Arrival { source, ..ARRIVAL }).is_ok());
    }
    let bound = Request {
        binding: Binding::to(v6, &key(LAPTOP)),
        ..request(LAPTOP, "ssh")
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
    for (requested, lease) in [(10, 10), (600, 600), (65_534, 3600)] {
        let requested = RequestedLease::of(Duration::from_secs(requested)).unwrap();
        let knock = verify(
            LAPTOP,
            Request {
                lease: requested.try_into().unwrap(),
                ..request(LAPTOP, "ssh")
            },
        );
        assert_eq!(knock.unwrap().wish, Wish::Open(Duration::from_secs(lease)));
    }
}

#[test]
fn a_knock_may_ask_to_close() {
    let request = Request {
        lease: ShortLease::CLOSE,
        ..request(LAPTOP, "ssh")
    };
    assert_eq!(verify(LAPTOP, request).unwrap().wish, Wish::Close);
}

#[test]
fn classic_knocks_open_by_sequence() {
    let verify = |passphrase, bytes: &[u8]| {
        let block = classic_key(passphrase).encipher(sequence(bytes).plaintext());
        verify_block(block, &ARRIVAL).map_err(|refused| refused.why)
    };
    let knock = Verified {
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
        prop_assert!(verify_block(Block(block), &ARRIVAL).is_err());
    }

    #[test]
    fn a_flipped_bit_is_refused(bit in 0_usize..128) {
        let mut block = request(LAPTOP, "ssh").seal(&key(LAPTOP));
        block.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify_block(block, &ARRIVAL).is_err());
    }

    #[test]
    fn blocks_that_are_verified_together_have_the_outcomes_that_each_has_alone(
        kinds in prop::collection::vec((0..5, any::<[u8; 16]>()), 0..150),
    ) {
        let authenticator = authenticator();
        let attempts: Vec<_> = kinds.into_iter().map(|(kind, random)| {
            let block = match kind {
                0 => request(LAPTOP, "ssh").seal(&key(LAPTOP)),
                1 => request(PHONE, "web").seal(&key(PHONE)),
                2 => request(PHONE, "nowhere").seal(&key(PHONE)),
                3 => classic_key("tablet's").encipher(sequence(&[1, 2, 3, 4]).plaintext()),
                _ => Block(random),
            };
            Attempt { block, arrival: ARRIVAL }
        }).collect();
        let alone: Vec<_> = attempts.iter().flat_map(|one| authenticator.verify(&[*one])).collect();
        prop_assert_eq!(authenticator.verify(&attempts), alone);
    }
}

#[test]
fn the_refusal_that_has_passed_the_most_checks_is_told_and_of_these_the_first() {
    let mut outcome = Err(Refused::NO_KEY);
    let stale = |age_ms| Err(Refusal::Stale { age_ms });
    let mut told = |client, of_client| {
        further(&mut outcome, client, of_client);
        outcome
    };
    let noise = Refused {
        why: Refusal::UnknownSequence,
        client: None,
    };
    assert_eq!(told(TABLET, Err(Refusal::UnknownSequence)), Err(noise));
    let first = Refused {
        why: Refusal::Stale { age_ms: 5 },
        client: Some(PHONE),
    };
    for (client, refusal) in [
        (PHONE, stale(5)),
        (LAPTOP, stale(5)),
        (LAPTOP, Err(Refusal::UnknownTag)),
    ] {
        assert_eq!(told(client, refusal), Err(first));
    }
    let accepted = verified(LAPTOP, SSH);
    assert_eq!(told(LAPTOP, Ok(accepted)), Ok(accepted));
    for refused_or_second in [stale(5), Ok(verified(PHONE, SSH))] {
        assert_eq!(told(PHONE, refused_or_second), Ok(accepted));
    }
}
