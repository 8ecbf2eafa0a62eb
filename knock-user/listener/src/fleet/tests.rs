use std::net::IpAddr;

use knock_common::protocol::{
    identity::{KeyPair, PrivateKey},
    syn::SynSecret,
};
use knockd_ipc::{
    fleet::{ClaimId, Hex, Record},
    request::{ExpelClient, MirrorDoor, OpenDoor, WithdrawDoor},
};
use knockd_types::{
    conditions::Conditions,
    fleet::FleetKey,
    policy::{Client, Door, Peer, Secret},
};
use tokio::sync::oneshot;

use super::*;
use crate::{auth::SingleUse, pending::Outcome};

mod claims;

const SKEW: Duration = Duration::from_secs(60);
const SOURCE: &str = "192.0.2.7";
const LEASE: Duration = Duration::from_secs(30);

/// The time of a test: both clocks begin at 1000 s.
fn at(seconds: u64) -> Now {
    Now {
        unix_ms: (1000 + seconds) * 1000,
        monotonic: Duration::from_secs(1000 + seconds),
    }
}

fn source() -> IpAddr {
    SOURCE.parse().unwrap()
}

/// The doors and clients of a node. Their numbers depend on the order of its configuration.
fn policy(first_number: u32, key: u8) -> Policy {
    let server = KeyPair::from(PrivateKey::new([1; 32]));
    let clients = [("laptop", key), ("phone", 9)]
        .into_iter()
        .zip(first_number..);
    let clients = clients.map(|((name, key), number)| {
        let public = PrivateKey::new([key; 32]).public();
        Client {
            number,
            name: name.into(),
            secret: Secret::Pair(Peer {
                public,
                syn: SynSecret::of_server(&server, &public).unwrap(),
            }),
            previous: None,
            conditions: Conditions::default(),
        }
    });
    let door = |name: &str, number, everywhere| Door {
        number,
        name: name.into(),
        clients: vec![0, 1],
        sequence: None,
        lease: LEASE,
        max_lease: LEASE,
        require_binding: false,
        allow_other: false,
        everywhere,
    };
    Policy {
        clients: clients.collect(),
        doors: vec![
            door("ssh", first_number + 10, true),
            door("local", first_number + 11, false),
        ],
        server: None,
    }
}

/// A node that is connected and has read an empty stream. Orders go nowhere: the tests carry them.
struct Node {
    fleet: Fleet,
    first_number: u32,
}

impl Node {
    fn new(name: &str, first_number: u32, when_unreachable: WhenUnreachable) -> Self {
        let mut node = Self::unread(name, first_number, when_unreachable);
        let version = "2.15.1".into();
        assert!(node.report(Report::Connected { version }, at(0)).is_empty());
        assert!(node.report(Report::Current, at(0)).is_empty());
        node
    }

    fn unread(name: &str, first_number: u32, when_unreachable: WhenUnreachable) -> Self {
        let config = FleetConfig {
            key: FleetKey::new([3; 32].into()),
            node: name.into(),
            when_unreachable,
            patience: Duration::from_secs(1),
            digest: Hex([0; 16]),
        };
        Self {
            fleet: Fleet::new(
                Built::with_fleet().unwrap(),
                &config,
                &policy(first_number, 8),
                SKEW,
            ),
            first_number,
        }
    }

    fn report(&mut self, report: Report, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.fleet.handle(report, now, &mut effects);
        effects
    }

    fn lose(&mut self) {
        let reason = "no route".into();
        assert!(self.report(Report::Lost { reason }, at(0)).is_empty());
    }

    /// A knock of the laptop for the door with this index.
    fn knock(&self, id: u8, door: u32, is_bound: bool) -> AcceptedKnock {
        AcceptedKnock {
            request: Request::Open(OpenDoor {
                query: 0,
                door: self.first_number + 10 + door,
                client: self.first_number,
                source: source(),
                lease: LEASE,
                at: Duration::ZERO,
                sender: source(),
                is_datagram: true,
            }),
            source: source(),
            single_use: Some(SingleUse {
                id: [id; 16],
                made_at: at(0).unix_ms,
            }),
            is_bound,
            old_key: None,
        }
    }

    fn withdrawal(&self, id: u8) -> AcceptedKnock {
        AcceptedKnock {
            request: Request::Withdraw(WithdrawDoor {
                door: self.first_number + 10,
                client: self.first_number,
                source: source(),
            }),
            ..self.knock(id, 0, true)
        }
    }

    /// Claims `knock`, and returns what happens at once and the claim.
    fn claim(&mut self, knock: AcceptedKnock, now: Now) -> (Vec<Effect>, (ClaimId, Record)) {
        let before: HashSet<_> = self.fleet.pending.records().map(|(id, _)| id).collect();
        let mut effects = Vec::new();
        self.fleet.claim(knock, now, &mut effects);
        let mut new = self.fleet.pending.records();
        let new = new.find(|(id, _)| !before.contains(id));
        (effects, new.unwrap())
    }

    fn read(&mut self, (id, record): (ClaimId, Record), now: Now) -> Vec<Effect> {
        self.report(Report::Read { id, record }, now)
    }

    fn wake(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.fleet.wake(now, &mut effects);
        effects
    }

    fn command(&mut self) -> (Command, oneshot::Receiver<Outcome>) {
        let (reply, answer) = oneshot::channel();
        let names = vec!["name".into()];
        (Command { reply, names }, answer)
    }
}

/// The lease of a knock that `effects` carries out, alone.
fn accepted(effects: &[Effect]) -> Duration {
    match effects {
        [
            Effect::Accept(AcceptedKnock {
                request: Request::Open(open),
                ..
            }),
        ] => open.lease,
        _ => panic!("{effects:?}"),
    }
}

/// What is mirrored besides what is remembered.
fn mirrored(effects: &[Effect]) -> Vec<MirrorDoor> {
    let mirrored = effects.iter().filter_map(|effect| match effect {
        Effect::Request(Request::Mirror(mirror)) => Some(*mirror),
        Effect::Remember(..) => None,
        other => panic!("{other:?}"),
    });
    mirrored.collect()
}

fn refused(effects: &[Effect]) -> Reason {
    match effects {
        [Effect::Refuse(_, reason, _), ..] => *reason,
        _ => panic!("{effects:?}"),
    }
}

#[test]
fn a_door_opens_on_every_node_when_its_claim_is_read_and_not_before() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let mut two = Node::new("edge2", 5, WhenUnreachable::Refuse);
    let (effects, claim) = one.claim(one.knock(1, 0, true), at(0));
    assert!(effects.is_empty());
    let created = Report::Outcome {
        id: claim.0,
        outcome: knockd_ipc::fleet::Outcome::Created,
    };
    assert!(one.report(created, at(0)).is_empty());
    assert_eq!(accepted(&one.read(claim, at(2))), Duration::from_secs(28));
    let effects = two.read(claim, at(2));
    assert!(matches!(effects[0], Effect::Remember(id, _) if id == [1; 16]));
    // By the numbers of that node.
    let mirror = MirrorDoor {
        door: 15,
        client: 5,
        source: source(),
        lease: Duration::from_secs(28),
        sender: source(),
    };
    assert_eq!(mirrored(&effects), [mirror]);
    let leases = two.fleet.leases(at(2));
    assert_eq!(leases.len(), 1);
    assert_eq!(
        (leases[0].seconds_left, leases[0].client.as_str()),
        (28, "laptop")
    );
}

#[test]
fn a_knock_that_two_nodes_have_accepted_opens_by_the_claim_that_is_first() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let mut two = Node::new("edge2", 5, WhenUnreachable::Refuse);
    let (_, first) = one.claim(one.knock(1, 0, true), at(0));
    for (is_bound, reason) in [(true, Reason::Repeated), (false, Reason::Replayed)] {
        let (_, second) = two.claim(two.knock(1, 0, is_bound), at(0));
        assert_eq!(first.0, second.0);
        let effects = two.read(first, at(0));
        assert_eq!(refused(&effects), reason);
        assert_eq!(mirrored(&effects[1..]).len(), 1);
    }
    accepted(&one.read(first, at(0)));
}

#[test]
fn a_claim_that_is_not_read_in_time_opens_nothing_until_it_is_read() {
    let mut node = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let (_, claim) = node.claim(node.knock(1, 0, true), at(0));
    assert_eq!(node.fleet.pending.next_deadline(), Some(at(1).monotonic));
    assert_eq!(refused(&node.wake(at(1))), Reason::Unreachable);
    assert!(node.wake(at(2)).is_empty());
    assert_eq!(mirrored(&node.read(claim, at(3))).len(), 1);
    // Too late.
    let (_, claim) = node.claim(node.knock(2, 0, true), at(3));
    node.wake(at(4));
    assert!(mirrored(&node.read(claim, at(40))).is_empty());
}

#[test]
fn without_the_engine_the_choice_decides_and_the_claim_follows() {
    let table = [
        (WhenUnreachable::Refuse, [false, false]),
        (WhenUnreachable::Bound, [true, false]),
        (WhenUnreachable::Local, [true, true]),
    ];
    for (choice, opens) in table {
        for (is_bound, opens) in [true, false].into_iter().zip(opens) {
            // Known to be lost: at once. Not known: when the patience is over.
            let mut lost = Node::new("edge1", 1, choice);
            lost.lose();
            let (at_once, claim) = lost.claim(lost.knock(1, 0, is_bound), at(0));
            let mut silent = Node::new("edge1", 1, choice);
            assert!(
                silent
                    .claim(silent.knock(1, 0, is_bound), at(0))
                    .0
                    .is_empty()
            );
            let later = silent.wake(at(1));
            if opens {
                assert_eq!(accepted(&at_once), LEASE);
                accepted(&later);
                assert_eq!(lost.fleet.pending.unclaimed(), 1);
                // It is open already.
                assert!(lost.read(claim, at(5)).is_empty());
                assert_eq!(lost.fleet.pending.unclaimed(), 0);
            } else {
                assert!(at_once.is_empty());
                assert_eq!(refused(&later), Reason::Unreachable);
            }
        }
    }
}

#[test]
fn a_client_closes_its_door_also_without_the_engine() {
    let mut node = Node::new("edge1", 1, WhenUnreachable::Refuse);
    node.lose();
    let (effects, _) = node.claim(node.withdrawal(1), at(0));
    assert!(matches!(
        effects[..],
        [Effect::Accept(AcceptedKnock {
            request: Request::Withdraw(_),
            ..
        })]
    ));
}

#[test]
fn a_door_of_one_node_is_claimed_and_opens_there_alone() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let mut two = Node::new("edge2", 5, WhenUnreachable::Refuse);
    let (_, claim) = one.claim(one.knock(1, 1, true), at(0));
    accepted(&one.read(claim, at(0)));
    assert!(matches!(two.read(claim, at(0))[..], [Effect::Remember(..)]));
    let (_, replayed) = two.claim(two.knock(1, 1, true), at(0));
    assert_eq!(replayed.0, claim.0);
}

#[test]
fn after_a_start_what_is_open_opens_and_what_was_closed_closes() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let mut stream = Vec::new();
    for (knock, time) in [(1, 0), (2, 1)] {
        let (_, claim) = one.claim(one.knock(knock, 0, true), at(time));
        stream.push(claim);
    }
    let (_, claim) = one.claim(one.withdrawal(3), at(2));
    stream.push(claim);
    let started_at = |count: usize, time| {
        let mut node = Node::unread("edge2", 5, WhenUnreachable::Refuse);
        for claim in &stream[..count] {
            let effects = node.read(*claim, at(time));
            assert!(mirrored(&effects).is_empty());
        }
        let effects = node.report(Report::Current, at(time));
        // Again after the next connection.
        assert!(node.report(Report::Current, at(time)).is_empty());
        effects
    };
    let open = mirrored(&started_at(2, 11));
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].lease, Duration::from_secs(20));
    assert!(started_at(2, 31).is_empty());
    let closed = started_at(3, 11);
    let [Effect::Request(Request::Close(close))] = closed[..] else {
        panic!("{closed:?}");
    };
    assert_eq!((close.door, close.source), (Some(15), source()));
}

#[test]
fn closing_everywhere_takes_effect_when_it_is_read() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let mut two = Node::new("edge2", 5, WhenUnreachable::Refuse);
    for door in [Some(11), None] {
        let close = CloseDoors {
            query: 0,
            door,
            source: source(),
        };
        let (command, mut answer) = one.command();
        let mut effects = Vec::new();
        one.fleet.close(&close, Some(command), at(0), &mut effects);
        assert!(effects.is_empty());
        let claim = one.fleet.pending.records().next().unwrap();
        let effects = one.read(claim, at(0));
        let [Effect::Request(Request::Close(closed)), Effect::Answer(..)] = effects[..] else {
            panic!("{effects:?}");
        };
        assert_eq!(closed, close);
        assert!(answer.try_recv().is_err());
        let effects = two.read(claim, at(0));
        let [Effect::Request(Request::Close(closed))] = effects[..] else {
            panic!("{effects:?}");
        };
        assert_eq!(closed.door, door.map(|_| 15));
    }
}

#[test]
fn a_command_that_is_not_read_in_time_fails_and_says_so() {
    let mut node = Node::new("edge1", 1, WhenUnreachable::Local);
    let (command, _answer) = node.command();
    let mut effects = Vec::new();
    node.fleet.revoke("laptop", command, at(0), &mut effects);
    let effects = node.wake(at(1));
    let [Effect::Answer(_, Err(error))] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert!(error.contains("later"), "{error}");
    let (command, _answer) = node.command();
    let mut effects = Vec::new();
    node.fleet.revoke("nobody", command, at(0), &mut effects);
    assert!(matches!(&effects[..], [Effect::Answer(_, Err(_))]));
}

#[test]
fn a_revoked_key_is_refused_everywhere_until_the_client_has_another() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let mut two = Node::new("edge2", 5, WhenUnreachable::Refuse);
    let (_, opened) = two.claim(two.knock(1, 0, true), at(0));
    accepted(&two.read(opened, at(0)));
    let (command, _answer) = one.command();
    one.fleet.revoke("laptop", command, at(0), &mut Vec::new());
    let claim = one.fleet.pending.records().next().unwrap();
    let effects = two.read(claim, at(1));
    assert!(matches!(
        effects[..],
        [Effect::Request(Request::Expel(ExpelClient { client: 5 }))]
    ));
    assert!(two.fleet.is_revoked(5) && !two.fleet.is_revoked(6));
    assert!(two.fleet.leases(at(1)).is_empty());
    assert_eq!(two.fleet.status(at(1)).revoked, ["laptop"]);
    let config = FleetConfig {
        key: FleetKey::new([3; 32].into()),
        node: "edge2".into(),
        when_unreachable: WhenUnreachable::Refuse,
        patience: Duration::from_secs(1),
        digest: Hex([1; 16]),
    };
    two.fleet.reconfigure(&config, &policy(5, 20), SKEW);
    assert!(!two.fleet.is_revoked(5));
    assert!(two.fleet.status(at(1)).revoked.is_empty());
}

/// `two` has read that `one` has revoked the key of the laptop.
fn revoked_by(one: &mut Node, two: &mut Node) {
    let (command, _answer) = one.command();
    one.fleet.revoke("laptop", command, at(0), &mut Vec::new());
    let claim = one.fleet.pending.records().next().unwrap();
    two.read(claim, at(0));
}

#[test]
fn a_knock_that_was_accepted_before_its_key_was_revoked_opens_nothing_afterwards() {
    for choice in [WhenUnreachable::Refuse, WhenUnreachable::Local] {
        let mut one = Node::new("edge1", 1, choice);
        let mut two = Node::new("edge2", 5, choice);
        let (_, read_later) = two.claim(two.knock(1, 0, true), at(0));
        let (_, never_read) = two.claim(two.knock(2, 0, true), at(0));
        revoked_by(&mut one, &mut two);
        assert_eq!(refused(&two.read(read_later, at(0))), Reason::Revoked);
        assert_eq!(refused(&two.wake(at(1))), Reason::Unreachable);
        assert!(
            two.read(never_read, at(2))
                .iter()
                .all(|effect| matches!(effect, Effect::Remember(..)))
        );
    }
}

#[tokio::test]
async fn what_is_revoked_stays_so_when_the_fleet_process_starts_again() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let mut two = Node::new("edge2", 5, WhenUnreachable::Refuse);
    revoked_by(&mut one, &mut two);
    let (listener, _fleet) = tokio_seqpacket::UnixSeqpacket::pair().unwrap();
    two.fleet.connect(listener.into()).unwrap();
    assert!(two.fleet.is_revoked(5));
}

#[test]
fn what_took_effect_here_is_claimed_until_it_is_read() {
    let mut node = Node::new("edge1", 1, WhenUnreachable::Local);
    let (_, (id, record)) = node.claim(node.knock(1, 0, true), at(0));
    let unknown = || {
        let reason = "no server leads the stream".into();
        let outcome = knockd_ipc::fleet::Outcome::Unknown { reason };
        Report::Outcome { id, outcome }
    };
    // The knock still waits: it is given up, or read.
    node.report(unknown(), at(0));
    assert_eq!(node.fleet.claim_again, None);
    accepted(&node.wake(at(1)));
    for second in [2, 3] {
        assert_eq!(node.fleet.next_deadline(), Some(at(second).monotonic));
        assert!(node.wake(at(second)).is_empty());
        assert_eq!(node.fleet.next_deadline(), None);
        node.report(unknown(), at(second));
    }
    node.read((id, record), at(4));
    node.wake(at(5));
    node.report(unknown(), at(5));
    assert_eq!(node.fleet.next_deadline(), None);
}

#[test]
fn what_the_engine_makes_up_has_no_effect() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let mut two = Node::new("edge2", 5, WhenUnreachable::Refuse);
    let (_, (id, record)) = one.claim(one.knock(1, 0, true), at(0));
    let mut forged = record;
    forged.0[4] ^= 1;
    assert!(two.read((id, forged), at(0)).is_empty());
    assert!(two.read((Hex([0; 16]), record), at(0)).is_empty());
    // A claim of a node whose clock is far ahead.
    let (_, ahead) = one.claim(one.knock(2, 0, true), at(61));
    assert!(two.read(ahead, at(0)).is_empty());
    assert_eq!(two.fleet.invalid, 3);
    // Sent again, when the door may have been closed meanwhile.
    assert_eq!(mirrored(&two.read((id, record), at(0))).len(), 1);
    assert!(two.read((id, record), at(1)).is_empty());
    // Sent again after its end.
    assert!(mirrored(&two.read((id, record), at(31))).is_empty());
}

#[test]
fn beats_show_the_nodes_and_only_those_of_the_fleet() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let keys = Keys::new(&FleetKey::new([3; 32].into()));
    let others = Keys::new(&FleetKey::new([4; 32].into()));
    let beat = |keys: &Keys, node: &str, config, now: Now| Report::Beat {
        node: node.into(),
        text: nodes::beat(keys, "edge2", Hex([config; 16]), now.unix_ms, config == 1).unwrap(),
    };
    for (report, is_heard) in [
        (beat(&others, "edge2", 0, at(0)), false),
        (beat(&keys, "edge3", 0, at(0)), false),
        (beat(&keys, "edge2", 1, at(3)), true),
        // An older one does not count.
        (beat(&keys, "edge2", 0, at(2)), true),
    ] {
        one.report(report, at(0));
        assert_eq!(one.fleet.status(at(0)).nodes.len(), usize::from(is_heard));
    }
    // It has asked, and is answered, but not more often than every few seconds.
    assert_eq!(one.fleet.next_beat, Duration::ZERO);
    one.fleet.beat(at(0));
    one.report(beat(&keys, "edge2", 1, at(4)), at(1));
    assert_eq!(one.fleet.next_beat, at(5).monotonic);
    let node = &one.fleet.status(at(8)).nodes[0];
    assert_eq!((node.node.as_str(), node.seconds_ago), ("edge2", 7));
    assert_eq!(
        (node.clock_offset_ms, node.same_configuration),
        (3000, false)
    );
}

#[test]
fn an_engine_that_comes_and_goes_does_not_fill_the_log() {
    let mut node = Node::new("edge1", 1, WhenUnreachable::Refuse);
    node.lose();
    assert!(node.fleet.tells_connection);
    let version = "2.15.1".into();
    node.report(Report::Connected { version }, at(1));
    node.lose();
    assert!(!node.fleet.tells_connection);
    assert!(node.fleet.status(at(1)).problem.is_some());
}
