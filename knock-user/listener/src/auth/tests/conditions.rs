//! When and from where a client may knock, for each kind of knock.

use knock_common::protocol::{
    datagram::{self, Beneficiary},
    identity::PrivateKey,
    lease::RequestedLease,
};
use knockd_types::policy::PreviousKey;

use super::*;

/// The key that the laptop had before is that of this client.
const OLD: usize = 7;

const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9));

/// An authenticator whose clients have all been changed like this.
fn with(change: impl Fn(&mut Client)) -> Authenticator {
    let mut policy = policy();
    policy.clients.iter_mut().for_each(change);
    Authenticator::new(&policy)
}

fn expiring(expires: u64) -> Authenticator {
    with(|client| client.conditions.expires = Some(expires))
}

fn only_from(network: &str) -> Authenticator {
    with(|client| client.conditions.from = vec![network.parse().unwrap()])
}

/// An authenticator that knows the key before of the laptop `until` then.
fn with_old_key(until: u64) -> Authenticator {
    let mut policy = policy();
    policy.clients[LAPTOP].previous = Some(PreviousKey {
        secret: Secret::Pair(peer(OLD)),
        until,
    });
    Authenticator::new(&policy)
}

fn syn_knock(authenticator: &Authenticator, client: usize) -> Result<Verified, Refused> {
    let unbound = Request {
        binding: Binding::Unbound,
        ..request(client, "ssh")
    };
    let block = unbound.seal(&key(client));
    let arrival = ARRIVAL;
    authenticator.verify(&[Attempt { block, arrival }])[0]
}

fn classic_knock(authenticator: &Authenticator) -> Result<Verified, Refused> {
    let sequence = sequence(&[1, 2, 3, 4]);
    let block = classic_key("tablet's").encipher(sequence.plaintext());
    let arrival = ARRIVAL;
    authenticator.verify(&[Attempt { block, arrival }])[0]
}

fn datagram_knock(
    authenticator: &Authenticator,
    client: usize,
    beneficiary: Beneficiary,
    door: &str,
) -> Result<Verified, Refused> {
    let request = datagram::Request {
        door: LongTag::of(door),
        unix_ms: NOW,
        beneficiary,
        lease: RequestedLease::DOORS_DEFAULT,
    };
    let ephemeral = PrivateKey::new([5; 32]);
    let datagram = request.seal(&pair(client), &server().public(), ephemeral);
    let datagram = datagram.unwrap();
    let decrypted = authenticator.decrypt(&datagram);
    authenticator.verify_datagram(&datagram, &decrypted, &ARRIVAL)
}

/// The outcome of a knock of each kind, each of another client.
fn each_kind(authenticator: &Authenticator) -> [Result<(), Refused>; 3] {
    [
        syn_knock(authenticator, LAPTOP),
        datagram_knock(authenticator, PHONE, Beneficiary::Sender, "ssh"),
        classic_knock(authenticator),
    ]
    .map(|outcome| outcome.map(|_| ()))
}

/// Every kind is refused, and the client is known.
fn all_refused(why: Refusal) -> [Result<(), Refused>; 3] {
    [LAPTOP, PHONE, TABLET].map(|client| {
        Err(Refused {
            why,
            client: Some(client),
        })
    })
}

#[test]
fn an_expired_client_is_refused() {
    assert_eq!(each_kind(&expiring(NOW + 1)), [Ok(()); 3]);
    assert_eq!(each_kind(&expiring(NOW)), all_refused(Refusal::Expired));
}

#[test]
fn a_knock_from_elsewhere_than_its_networks_is_refused() {
    assert_eq!(each_kind(&only_from("192.0.2.0/24")), [Ok(()); 3]);
    let refused = all_refused(Refusal::Outside);
    assert_eq!(each_kind(&only_from("192.0.3.0/24")), refused);
    assert_eq!(each_kind(&only_from("2001:db8::/32")), refused);
}

#[test]
fn where_a_knock_comes_from_counts_and_not_whom_the_door_opens_for() {
    let for_other = |network| {
        let authenticator = only_from(network);
        datagram_knock(&authenticator, PHONE, Beneficiary::Other(OTHER), "web")
    };
    assert_eq!(for_other("192.0.2.0/24").unwrap().beneficiary, OTHER);
    let refused = for_other("198.51.100.0/24").unwrap_err();
    assert_eq!(refused.why, Refusal::Outside);
}

#[test]
fn the_key_before_is_accepted_for_some_time() {
    let until = NOW + 1;
    let authenticator = with_old_key(until);
    let kinds = |authenticator: &Authenticator, key: usize| {
        [
            syn_knock(authenticator, key),
            datagram_knock(authenticator, key, Beneficiary::Sender, "ssh"),
        ]
    };
    for (key, old_key_until) in [(OLD, Some(until)), (LAPTOP, None)] {
        for knock in kinds(&authenticator, key) {
            let knock = knock.unwrap();
            assert_eq!(knock.client, LAPTOP);
            assert_eq!(knock.old_key_until, old_key_until);
        }
    }
    let authenticator = with_old_key(NOW);
    let refused = Err(Refused {
        why: Refusal::OldKey,
        client: Some(LAPTOP),
    });
    assert_eq!(kinds(&authenticator, OLD), [refused; 2]);
    assert!(kinds(&authenticator, LAPTOP).iter().all(Result::is_ok));
}

#[test]
fn a_stranger_and_a_stale_knock_are_refused_as_without_conditions() {
    let authenticator = expiring(NOW);
    let stranger = syn_knock(&authenticator, 50).unwrap_err();
    assert_eq!(stranger, Refused::NO_KEY);
    let stale = Request {
        time: Time40::from_unix_ms(NOW - 60_001),
        ..request(LAPTOP, "ssh")
    };
    let block = stale.seal(&key(LAPTOP));
    let arrival = ARRIVAL;
    let refused = authenticator.verify(&[Attempt { block, arrival }])[0].unwrap_err();
    assert_eq!(refused.why, Refusal::Stale { age_ms: 60_001 });
}
