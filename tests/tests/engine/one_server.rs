//! What a fleet process does, with one server.

use std::collections::BTreeSet;

use knock_tests::{netns::Namespace, process::status};
use knockd_ipc::fleet::{ClaimId, Order, Outcome, Report};

use super::{
    can_run,
    node::{self, Node, claim},
    start, with_stream,
};

fn read(id: u32, record: u32) -> Report {
    let (id, record) = claim(id, record);
    Report::Read { id, record }
}

fn created(id: u32) -> Report {
    let (id, _) = claim(id, 0);
    let outcome = Outcome::Created;
    Report::Outcome { id, outcome }
}

#[test]
fn a_claim_is_created_once_and_read_by_every_node() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = with_stream::<1>(&namespace, &folder);
    let [one, two] = ["edge1", "edge2"].map(|name| Node::start(&namespace, &cluster, name));
    for node in [&one, &two] {
        let version = "2.15.1".into();
        assert_eq!(node.next().unwrap(), Report::Connected { version });
        // The stream is empty.
        assert_eq!(node.next().unwrap(), Report::Current);
    }
    one.claim(1, 10);
    let both = [(); 2].map(|()| one.next().unwrap());
    assert!(
        both.contains(&created(1)) && both.contains(&read(1, 10)),
        "{both:?}"
    );
    assert_eq!(two.next().unwrap(), read(1, 10));
    two.claim(1, 20);
    assert_eq!(two.outcome(1), Outcome::Exists);
    // The second claim was not stored.
    two.claim(2, 20);
    one.wait_for(|report| *report == read(2, 20)).unwrap();

    let beat = |node: &str| {
        let (node, text) = (node.into(), "{\"clock\":1}".into());
        (
            Order::Beat {
                node: String::clone(&node),
                text: String::clone(&text),
            },
            Report::Beat { node, text },
        )
    };
    let (order, report) = beat("edge2");
    two.order(&order);
    one.wait_for(|it| *it == report).unwrap();
    // The server does not let a node speak for another one.
    two.order(&beat("edge1").0);
    two.order(&order);
    assert_eq!(one.next().unwrap(), report);

    // It is in its sandbox, and leaves it to the listener to say something.
    let of = |key| status(one.process.id(), key).unwrap();
    assert_eq!(u64::from_str_radix(&of("CapEff"), 16).unwrap(), 0);
    assert_eq!([of("NoNewPrivs"), of("Seccomp")], ["1", "2"]);
    assert!(one.process.lines().is_empty(), "{:?}", one.process.lines());

    assert!(one.end());
    // A node that starts reads everything before it is current.
    let one = Node::start(&namespace, &cluster, "edge1");
    one.wait_for(|report| matches!(report, Report::Connected { .. }))
        .unwrap();
    for expected in [read(1, 10), read(2, 20), Report::Current] {
        assert_eq!(one.next().unwrap(), expected);
    }
}

#[test]
fn a_node_that_reads_slowly_reads_everything_in_order() {
    const CLAIMS: u32 = 3000;

    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = with_stream::<1>(&namespace, &folder);
    let [one, slow] = ["edge1", "edge2"].map(|name| Node::start(&namespace, &cluster, name));
    for node in [&one, &slow] {
        node.current();
    }
    // On a busy machine a connection may end, and a claim be tried twice.
    let mut seen = Seen::default();
    for id in 0..CLAIMS {
        one.claim(id, id);
        // Not more than are tried at once.
        while seen.claimed + 512 < id + 1 {
            seen.add(one.next().unwrap());
        }
    }
    // Each claim has an outcome, and is read.
    while (seen.claimed, seen.order.len()) != (CLAIMS, CLAIMS.try_into().unwrap()) {
        seen.add(one.next().unwrap());
    }
    assert_eq!(
        seen.order.iter().collect::<BTreeSet<_>>().len(),
        seen.order.len()
    );
    // Its channel has been full since.
    let mut late = Seen::default();
    while late.order.len() < seen.order.len() {
        late.add(slow.next().unwrap());
    }
    assert_eq!(late.order, seen.order);
}

/// What a node has reported about claims.
#[derive(Default)]
struct Seen {
    claimed: u32,
    /// Those that were read.
    order: Vec<ClaimId>,
}

impl Seen {
    fn add(&mut self, report: Report) {
        match report {
            Report::Outcome { outcome, .. } => {
                assert!(matches!(outcome, Outcome::Created | Outcome::Exists));
                self.claimed += 1;
            }
            Report::Read { id, .. } => self.order.push(id),
            _ => {}
        }
    }
}

#[test]
fn a_stream_gets_another_size_and_keeps_its_claims() {
    const KEPT: u32 = 50;
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = start::<1>(&namespace, &folder);
    let size = |bytes, expected: &str| {
        let made = node::init(&namespace, &cluster, 1, bytes).unwrap();
        assert!(made.contains(expected), "{made}");
    };
    size(None, "was made, with one copy of 64 MiB at most");
    let node = Node::start(&namespace, &cluster, "edge1");
    node.current();
    let create = |id| {
        node.claim(id, id);
        node.outcome(id)
    };
    for id in 1..=KEPT {
        assert_eq!(create(id), Outcome::Created);
    }
    // Less than it holds: what is there stays, and nothing is added.
    size(Some(4096), "has one copy of 4096 bytes at most");
    size(None, "was there already.");
    match create(KEPT + 1) {
        Outcome::Unknown { reason } => assert!(reason.contains("the engine is full"), "{reason}"),
        other => panic!("{other:?}"),
    }
    size(Some(256 << 20), "has one copy of 256 MiB at most");
    size(None, "was there already.");
    assert_eq!(create(KEPT + 2), Outcome::Created);
    let other = Node::start(&namespace, &cluster, "edge2");
    other
        .wait_for(|report| matches!(report, Report::Connected { .. }))
        .unwrap();
    for id in (1..=KEPT).chain([KEPT + 2]) {
        assert_eq!(other.next().unwrap(), read(id, id));
    }
    assert_eq!(other.next().unwrap(), Report::Current);
}

#[test]
fn the_stream_is_made_once_and_has_to_be_right() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = start::<1>(&namespace, &folder);
    let node = Node::start(&namespace, &cluster, "edge1");
    let reason = node.lost();
    assert!(reason.contains("knockd fleet init"), "{reason}");
    let error = node::init(&namespace, &cluster, 3, None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("fewer servers than the 3 copies"), "{error}");
    for expected in ["was made, with one copy", "was there already."] {
        let made = node::init(&namespace, &cluster, 1, None).unwrap();
        assert!(made.contains(expected), "{made}");
    }
    node.current();
    node.claim(1, 1);
    let both = [(); 2].map(|()| node.next().unwrap());
    assert!(
        both.contains(&created(1)) && both.contains(&read(1, 1)),
        "{both:?}"
    );

    // What was acknowledged is there after a restart of the server, and nothing is read twice.
    cluster.kill(0).unwrap();
    node.lost();
    cluster.start_again(0).unwrap();
    node.wait_for(|report| matches!(report, Report::Connected { .. }))
        .unwrap();
    assert_eq!(node.next().unwrap(), Report::Current);
    node.claim(1, 2);
    assert_eq!(node.outcome(1), Outcome::Exists);
    assert!(node.end());
}

#[test]
fn what_is_no_order_ends_the_process() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = start::<1>(&namespace, &folder);
    let long = vec![b' '; 5000];
    for packet in [&b"{\"Open\":1}"[..], b"\xff", &long] {
        let mut node = Node::start(&namespace, &cluster, "edge1");
        node.send(packet);
        let status = node.process.wait(super::SOON).unwrap();
        assert_eq!(status.code(), Some(1));
    }
    let mut node = Node::without_startup(&namespace);
    node.send(b"{}");
    assert_eq!(node.process.wait(super::SOON).unwrap().code(), Some(1));
    assert!(Node::without_startup(&namespace).end());
}
