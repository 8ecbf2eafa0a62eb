use std::time::Duration;

use knock_common::protocol::{
    door::LongTag,
    identity::{KeyPair, PrivateKey},
    lease::RequestedLease,
};

use super::{
    super::{
        Wish,
        tests::{
            ARRIVAL, LAPTOP, LEASE, NOW, PHONE, SOURCE, SSH, WEB, authenticator, pair, server,
        },
    },
    *,
};

const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9));

fn request(door: &str) -> Request {
    Request {
        door: LongTag::of(door),
        unix_ms: NOW,
        beneficiary: Beneficiary::Bound(SOURCE),
        lease: RequestedLease::DOORS_DEFAULT,
    }
}

fn sealed(client: &KeyPair, request: &Request) -> [u8; DATAGRAM_LEN] {
    let ephemeral = PrivateKey::new([5; 32]);
    request.seal(client, &server().public(), ephemeral).unwrap()
}

fn verify(client: usize, request: &Request) -> Result<Verified, Refused> {
    let datagram = sealed(&pair(client), request);
    let authenticator = authenticator();
    let decrypted = authenticator.decrypt(&datagram);
    authenticator.verify_datagram(&datagram, &decrypted, &ARRIVAL)
}

#[test]
fn a_datagram_opens_its_door() {
    for (client, name, door) in [
        (LAPTOP, "ssh", SSH),
        (PHONE, "ssh", SSH),
        (PHONE, "web", WEB),
    ] {
        let knock = verify(client, &request(name)).unwrap();
        assert_eq!((knock.client, knock.door), (client, door));
        assert_eq!(knock.beneficiary, SOURCE);
        assert_eq!(knock.wish, Wish::Open(LEASE));
        let single_use = knock.single_use.unwrap();
        assert_eq!(single_use.made_at, NOW);
        let datagram = sealed(&pair(client), &request(name));
        assert_eq!(single_use.id, replay_id(&datagram));
    }
}

#[test]
fn every_wrong_field_is_refused_with_its_reason() {
    let (ssh, web) = (request("ssh"), request("web"));
    let with = |beneficiary, request| Request {
        beneficiary,
        ..request
    };
    for (client, request, refusal) in [
        (LAPTOP, request("unknown door"), Refusal::UnknownTag),
        (LAPTOP, web, Refusal::ClientNotAllowed),
        (
            LAPTOP,
            Request {
                unix_ms: NOW - 60_001,
                ..ssh
            },
            Refusal::Stale { age_ms: 60_001 },
        ),
        (
            LAPTOP,
            Request {
                unix_ms: NOW + 60_001,
                ..ssh
            },
            Refusal::Stale { age_ms: -60_001 },
        ),
        // The datagram's time is not modulo 2^40.
        (
            LAPTOP,
            Request {
                unix_ms: NOW + (1 << 40),
                ..ssh
            },
            Refusal::Stale { age_ms: -(1 << 40) },
        ),
        (
            LAPTOP,
            with(Beneficiary::Bound(OTHER), ssh),
            Refusal::BoundElsewhere,
        ),
        (
            LAPTOP,
            with(Beneficiary::Other(OTHER), ssh),
            Refusal::ForOther,
        ),
        (PHONE, with(Beneficiary::Sender, web), Refusal::NotBound),
        (
            PHONE,
            with(Beneficiary::Bound(OTHER), web),
            Refusal::BoundElsewhere,
        ),
        // A door opens for one host, not for a group or for everybody.
        (
            PHONE,
            with(Beneficiary::Other([224, 0, 0, 1].into()), web),
            Refusal::ForOther,
        ),
        (
            PHONE,
            with(Beneficiary::Other([0, 0, 0, 0].into()), web),
            Refusal::ForOther,
        ),
    ] {
        let refused = verify(client, &request).unwrap_err();
        assert_eq!(refused.why, refusal, "{request:?}");
        assert_eq!(refused.client, Some(client));
    }
}

#[test]
fn a_door_may_allow_other_addresses() {
    let request = Request {
        beneficiary: Beneficiary::Other(OTHER),
        ..request("web")
    };
    let knock = verify(PHONE, &request).unwrap();
    assert_eq!(knock.beneficiary, OTHER);
    assert!(knock.is_bound);
}

#[test]
fn leases_are_capped_and_a_close_is_a_wish() {
    let of = |seconds| RequestedLease::of(Duration::from_secs(seconds)).unwrap();
    for (lease, wish) in [
        (of(600), Wish::Open(Duration::from_secs(600))),
        (of(1 << 31), Wish::Open(Duration::from_secs(3600))),
        (RequestedLease::CLOSE, Wish::Close),
    ] {
        let request = Request {
            lease,
            ..request("ssh")
        };
        assert_eq!(verify(LAPTOP, &request).unwrap().wish, wish);
    }
}

#[test]
fn a_stranger_is_not_told_from_a_forger() {
    let authenticator = authenticator();
    let stranger = sealed(&pair(42), &request("ssh"));
    assert_eq!(authenticator.decrypt(&stranger), Decrypted::Forged);
    let elsewhere =
        request("ssh").seal(&pair(LAPTOP), &pair(43).public(), PrivateKey::new([5; 32]));
    assert_eq!(
        authenticator.decrypt(&elsewhere.unwrap()),
        Decrypted::Forged
    );
    let refused = authenticator.verify_datagram(&stranger, &Decrypted::Forged, &ARRIVAL);
    assert_eq!(
        refused,
        Err(Refused {
            why: Refusal::Forged,
            client: None
        })
    );
}

#[test]
fn without_the_servers_key_nothing_is_decrypted() {
    let mut policy = super::super::tests::policy();
    policy.server = None;
    let authenticator = Authenticator::new(&policy);
    let datagram = sealed(&pair(LAPTOP), &request("ssh"));
    assert_eq!(authenticator.decrypt(&datagram), Decrypted::Forged);
}
