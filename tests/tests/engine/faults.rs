//! Servers of a cluster that fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use knock_tests::{nats::Cluster, netns::Namespace};
use knockd_ipc::fleet::{Outcome, Report};

use super::{
    can_run,
    node::{Node, claim},
    with_stream,
};

const STREAM: &str = "KNOCK_CLAIMS";

/// How long after a fault claims are made.
const PERIOD: Duration = Duration::from_secs(12);

/// The time between two claims.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long there may be no claims.
const MAX_GAP: Duration = Duration::from_secs(10);

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
}

/// Two nodes claim the same identities all the time, while `fault` happens to the leader.
fn claim_during(fault: fn(&mut Cluster<'_>, usize)) {
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
    let mut seen = Seen::default();
    let begin = Instant::now();
    let mut fault_at = None;
    let mut next = 0;
    while begin.elapsed() < PERIOD {
        for node in &nodes {
            node.claim(next, next);
        }
        next += 1;
        if next == 50 {
            let leader = cluster.leader(STREAM).unwrap();
            fault(&mut cluster, leader);
            fault_at = Some(Instant::now());
        }
        let pause = Instant::now();
        while pause.elapsed() < INTERVAL {
            for (index, node) in nodes.iter().enumerate() {
                while let Ok(report) = node.next_within(INTERVAL / 4) {
                    seen.add(index, report);
                }
            }
        }
    }
    // A last claim, which both nodes read after all others.
    let last = u32::MAX;
    nodes[0].claim(last, last);
    let (last, _) = claim(last, last);
    for (index, node) in nodes.iter().enumerate() {
        while !seen.read[index].contains(&last.to_string()) {
            seen.add(index, node.next().unwrap());
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
    let fault_at = fault_at.unwrap();
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
    assert!(seen.times.iter().any(|time| *time > fault_at));
}

#[test]
fn a_leader_is_killed() {
    claim_during(|cluster, leader| cluster.kill(leader).unwrap());
}

#[test]
fn a_leader_is_stopped() {
    claim_during(|cluster, leader| cluster.stop(leader).unwrap());
}
