//! What is claimed, how often and for how long, and what it does at the edges of its time.

use knockd_ipc::fleet::{MAX_CLAIMS, MAX_PACKET};
use tokio_seqpacket::UnixSeqpacket;

use super::*;

/// A node with a fleet process, of which the test has the other end.
fn with_process(when_unreachable: WhenUnreachable) -> (Node, UnixSeqpacket) {
    let (listener, process) = UnixSeqpacket::pair().unwrap();
    let mut node = Node::unread("edge1", 1, when_unreachable);
    node.fleet.connect(listener.into()).unwrap();
    (node, process)
}

/// The next claim that is ordered.
async fn ordered(process: &UnixSeqpacket) -> (ClaimId, Record) {
    let mut packet = vec![0; MAX_PACKET];
    let next = async {
        loop {
            let len = process.recv(&mut packet).await.unwrap().bytes_read();
            if let Order::Claim { id, record } = serde_json::from_slice(&packet[..len]).unwrap() {
                return (id, record);
            }
        }
    };
    let next = tokio::time::timeout(Duration::from_secs(10), next).await;
    next.expect("nothing is ordered")
}

#[tokio::test]
async fn what_has_opened_without_the_engine_is_ordered_until_it_is_read() {
    let (mut node, process) = with_process(WhenUnreachable::Local);
    let (effects, claim) = node.claim(node.knock(1, 0, false), at(0));
    accepted(&effects);
    assert_eq!(ordered(&process).await, claim);
    // The engine is reached again.
    let version = "2.15.1".into();
    node.report(Report::Connected { version }, at(0));
    assert_eq!(ordered(&process).await, claim);
    // It has not taken it.
    let reason = "no server leads the stream".into();
    let outcome = knockd_ipc::fleet::Outcome::Unknown { reason };
    let id = claim.0;
    node.report(Report::Outcome { id, outcome }, at(1));
    node.wake(at(2));
    assert_eq!(ordered(&process).await, claim);
}

#[test]
fn what_is_not_single_use_has_a_new_identity_each_time() {
    let mut node = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let close = CloseDoors {
        query: 0,
        door: None,
        source: source(),
    };
    for number in 1..=2 {
        node.fleet.close(&close, None, at(0), &mut Vec::new());
        let classic = AcceptedKnock {
            single_use: None,
            ..node.knock(1, 0, false)
        };
        node.claim(classic, at(0));
        assert_eq!(node.fleet.pending.records().count(), 2 * number);
    }
}

#[test]
fn what_has_opened_stays_to_be_claimed_while_there_is_room() {
    let mut node = Node::new("edge1", 1, WhenUnreachable::Local);
    node.lose();
    // Opens at once, for 30 s. Returns the number of claims that were not read.
    let mut claim = |number: usize, now| {
        let mut id = [0; 16];
        id[..size_of::<usize>()].copy_from_slice(&number.to_le_bytes());
        let single_use = Some(SingleUse {
            id,
            made_at: at(0).unix_ms,
        });
        let knock = AcceptedKnock {
            single_use,
            ..node.knock(1, 0, false)
        };
        let mut effects = Vec::new();
        node.fleet.claim(knock, now, &mut effects);
        accepted(&effects);
        node.fleet.pending.records().count()
    };
    assert_eq!(claim(0, at(0)), 1);
    // Its end is no reason to forget it: the knock could be accepted elsewhere.
    for number in 1..MAX_CLAIMS {
        assert_eq!(claim(number, at(40)), number + 1);
    }
    // It makes room for one, and the others do not.
    for number in MAX_CLAIMS..MAX_CLAIMS + 2 {
        assert_eq!(claim(number, at(69)), MAX_CLAIMS);
    }
    // All of them but the last one have ended.
    assert_eq!(claim(MAX_CLAIMS + 2, at(70)), 2);
}

#[test]
fn a_claim_counts_up_to_the_edges_of_the_skew() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    // Made at 0 s and claimed at 60 s. After a minute, no node accepts the knock any more.
    let (_, claim) = one.claim(one.knock(1, 0, true), at(60));
    for (now, is_remembered) in [(0, true), (60, true), (61, false)] {
        let mut two = Node::new("edge2", 5, WhenUnreachable::Refuse);
        let effects = two.read(claim, at(now));
        assert_eq!(mirrored(&effects).len(), 1);
        assert_eq!(effects.len() == 2, is_remembered, "{effects:?}");
    }
    let before = Now {
        unix_ms: at(0).unix_ms - 1,
        ..at(0)
    };
    let mut two = Node::new("edge2", 5, WhenUnreachable::Refuse);
    assert!(two.read(claim, before).is_empty());
}

#[test]
fn a_claim_opens_nothing_from_the_end_of_its_lease_on() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let mut two = Node::new("edge2", 5, WhenUnreachable::Refuse);
    let (_, claim) = one.claim(one.knock(1, 0, true), at(0));
    assert_eq!(refused(&one.read(claim, at(30))), Reason::Unreachable);
    assert!(mirrored(&two.read(claim, at(30))).is_empty());
    assert!(two.fleet.leases(at(30)).is_empty());
}

#[test]
fn a_client_closes_its_door_on_every_node() {
    let mut one = Node::new("edge1", 1, WhenUnreachable::Refuse);
    let mut two = Node::new("edge2", 5, WhenUnreachable::Refuse);
    let (_, claim) = one.claim(one.withdrawal(1), at(0));
    let effects = two.read(claim, at(0));
    let [
        Effect::Remember(..),
        Effect::Request(Request::Withdraw(close)),
    ] = &effects[..]
    else {
        panic!("{effects:?}");
    };
    assert_eq!((close.door, close.client, close.source), (15, 5, source()));
}
