//! Servers of a cluster that fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use knock_tests::{nats::Cluster, netns::Namespace};
use knockd_ipc::fleet::{Outcome, Report};

use super::{
    SOON, can_run,
    node::{Node, PATIENCE, engine},
    with_stream,
};

const STREAM: &str = "KNOCK_CLAIMS";

/// How many claims are made before a fault, how many after that until it ends, and until the test
/// does.
const CLAIMS: usize = 50;

/// The time between two claims.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long there may be no claims. It is 10 s where nothing else runs.
const MAX_GAP: Duration = Duration::from_secs(40);

/// What the nodes have reported.
#[derive(Default)]
struct Seen {
    /// By identity: how often each node's claim was created.
    created: BTreeMap<String, u32>,
    /// When claims were created.
    times: Vec<Instant>,
    unknown: u32,
    /// By node, in their order.
    read: [Vec<String>; 2],
}

impl Seen {
    fn add(&mut self, node: usize, report: Report) {
        match report {
            Report::Outcome { id, outcome } => match outcome {
                Outcome::Created => {
                    *self.created.entry(id.to_string()).or_default() += 1;
                    self.times.push(Instant::now());
                }
                Outcome::Exists => {}
                Outcome::Unknown { .. } => self.unknown += 1,
            },
            Report::Read { id, .. } => self.read[node].push(id.to_string()),
            _ => {}
        }
    }

    /// Whether both nodes have read the same, and all that was created.
    fn is_complete(&self) -> bool {
        let [one, two] = &self.read;
        one == two && self.created.keys().all(|created| one.contains(created))
    }
}

/// Two nodes claim the same identities all the time, while `fault` happens to the leader, and ends.
fn claim_during(fault: fn(&mut Cluster<'_>, usize), heal: fn(&mut Cluster<'_>, usize)) {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = with_stream::<3>(&namespace, &folder);
    let nodes = ["edge1", "edge2"].map(|name| Node::start(&namespace, &cluster, name));
    for node in &nodes {
        node.current();
    }
    let leader = cluster.leader(STREAM).unwrap();
    let mut seen = Seen::default();
    let mut next = 0;
    for change in [fault, heal, |_, _| {}] {
        let begin = Instant::now();
        let goal = seen.created.len() + CLAIMS;
        while seen.created.len() < goal {
            assert!(begin.elapsed() < SOON, "no claims are created");
            for node in &nodes {
                node.claim(next, next);
            }
            next += 1;
            let pause = Instant::now();
            while pause.elapsed() < INTERVAL {
                for (index, node) in nodes.iter().enumerate() {
                    while let Ok(report) = node.next_within(INTERVAL / 4) {
                        seen.add(index, report);
                    }
                }
            }
        }
        change(&mut cluster, leader);
    }
    // Claims that are still tried may be stored later than others.
    let deadline = Instant::now() + SOON;
    while !seen.is_complete() && Instant::now() < deadline {
        for (index, node) in nodes.iter().enumerate() {
            while let Ok(report) = node.next_within(INTERVAL) {
                seen.add(index, report);
            }
        }
    }

    assert!(seen.created.values().all(|count| *count == 1));
    // Nothing that was acknowledged is lost, nothing is read twice, and all read the same.
    let [one, two] = &seen.read;
    assert_eq!(one, two);
    let distinct: BTreeSet<_> = one.iter().collect();
    assert_eq!(distinct.len(), one.len());
    for created in seen.created.keys() {
        assert!(distinct.contains(created), "{created} is lost");
    }
    let gap = seen.times.windows(2).map(|pair| pair[1] - pair[0]).max();
    let gap = gap.unwrap();
    println!(
        "{} claims, {} created, {} read, {} unknown; none for {gap:?}",
        next,
        seen.created.len(),
        one.len(),
        seen.unknown
    );
    assert!(gap <= MAX_GAP, "{gap:?}");
}

#[test]
fn a_leader_is_killed() {
    claim_during(
        |cluster, leader| cluster.kill(leader).unwrap(),
        |cluster, leader| cluster.start_again(leader).unwrap(),
    );
}

#[test]
fn a_leader_is_stopped() {
    claim_during(
        |cluster, leader| cluster.stop(leader).unwrap(),
        |cluster, leader| cluster.cont(leader).unwrap(),
    );
}

#[test]
fn what_a_leader_was_asked_before_its_death_is_asked_again() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = with_stream::<3>(&namespace, &folder);
    let leader = cluster.leader(STREAM).unwrap();
    let mut settings = engine(&cluster, "edge1");
    settings.servers.remove(leader);
    let node = Node::with(&namespace, settings, PATIENCE);
    node.current();

    cluster.stop(leader).unwrap();
    node.claim(1, 1);
    // The server that the node is connected to forwards it at once, and tells nobody.
    thread::sleep(INTERVAL * 10);
    cluster.kill(leader).unwrap();
    // The server answers this one again and again that there is no leader: so it is not silent.
    node.claim(2, 2);
    assert_eq!(node.outcome(1), Outcome::Created);
    assert!(node.end());
}

#[test]
fn a_link_that_is_down_is_noticed_and_used_again() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = with_stream::<1>(&namespace, &folder);
    let node = Node::start(&namespace, &cluster, "edge1");
    node.current();
    let down = Instant::now();
    namespace.ip("link set dev lo down").unwrap();
    node.lost();
    println!("noticed after {:?}", down.elapsed());
    node.claim(1, 1);
    namespace.ip("link set dev lo up").unwrap();
    let up = Instant::now();
    assert_eq!(node.outcome(1), Outcome::Created);
    let gap = up.elapsed();
    println!("claims after {gap:?}");
    assert!(gap <= MAX_GAP, "{gap:?}");
}
