//! What nodes say of the balancer in front of them.

use std::{
    thread,
    time::{Duration, Instant},
};

use knock_tests::scene::SOON;

use super::{
    needs_fleet,
    net::{NODES, Net, Policy},
    stage::Stage,
};

/// What the log says of a balancer that chooses nodes by ports.
const WARNING: &str = "SYN knocks reach this node with holes";

/// What the status says of it.
const SHOWN: &str = "SYN KNOCKS ARRIVE WITH HOLES";

/// The counter of the knocks of which a node has received a part.
const COUNTER: &str = "knocks_with_holes";

/// Knocks that each node receives a part of. It tells of three, and notices two in three: this is
/// nearly always enough.
const KNOCKS: usize = 10;

/// The SYNs of a knock, with its copies.
const SYNS: u64 = 48;

#[test]
fn a_balancer_that_chooses_by_ports_is_told_and_one_that_chooses_by_source_is_not() {
    needs_fleet!();
    let net = Net::new().unwrap();
    let stage = Stage::new(&net).unwrap();
    net.choose_by(Policy::Source).unwrap();
    knock(&stage, 2);
    stage.wait_open_everywhere(true).unwrap();
    expire(&stage);
    for index in 0..NODES {
        assert_eq!(stage.counter(index, COUNTER).unwrap(), 0);
        assert!(!is_told(&stage, index));
        let status = printed(&stage, index);
        assert!(
            status.iter().all(|text| !text.contains(SHOWN)),
            "{status:?}"
        );
        assert_eq!(warnings(&stage, index), 0);
    }
    net.choose_by(Policy::Flow).unwrap();
    let begun = Instant::now();
    while !(0..NODES).all(|index| is_told(&stage, index)) {
        assert!(begun.elapsed() < SOON, "some nodes do not say so");
        knock(&stage, KNOCKS);
        expire(&stage);
    }
    for index in 0..NODES {
        let status = printed(&stage, index);
        assert!(status.iter().all(|text| text.contains(SHOWN)), "{status:?}");
        assert_eq!(warnings(&stage, index), 1);
    }
    // Somebody has corrected it, and more knocks are whole than had holes.
    let accepted = |index| stage.counter(index, "accepted").unwrap();
    let chosen = (0..NODES).max_by_key(|index| accepted(*index)).unwrap();
    net.choose_by(Policy::Source).unwrap();
    let holes = stage.counter(chosen, COUNTER).unwrap();
    knock(&stage, usize::try_from(holes).unwrap());
    stage
        .wait(chosen, "that knocks are whole", |fleet| {
            fleet[COUNTER].is_null()
        })
        .unwrap();
}

/// Knocks, and waits until the nodes have all SYNs.
fn knock(stage: &Stage<'_>, count: usize) {
    let received = || -> u64 {
        let nodes = 0..NODES;
        nodes
            .map(|index| stage.counter(index, "events").unwrap())
            .sum()
    };
    let wanted = received() + SYNS * u64::try_from(count).unwrap();
    for _ in 0..count {
        let output = stage.knock(&[]).unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let sent = Instant::now();
    while received() < wanted {
        assert!(sent.elapsed() < SOON, "{} of {wanted} SYNs", received());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until no node waits for the rest of a knock.
fn expire(stage: &Stage<'_>) {
    let begun = Instant::now();
    let waits = |index| stage.json(index, &["status"]).unwrap()["sources_in_progress"] != 0;
    while (0..NODES).any(waits) {
        assert!(begun.elapsed() < SOON, "SYNs do not expire");
        thread::sleep(Duration::from_millis(100));
    }
}

fn is_told(stage: &Stage<'_>, index: usize) -> bool {
    !stage.status(index).unwrap()[COUNTER].is_null()
}

/// What `fleet status` and `status` print.
fn printed(stage: &Stage<'_>, index: usize) -> [String; 2] {
    [&["fleet", "status"][..], &["status"]].map(|arguments| {
        let output = stage.knockd(index, arguments).unwrap();
        String::from_utf8(output.stdout).unwrap()
    })
}

fn warnings(stage: &Stage<'_>, index: usize) -> usize {
    let lines = stage.nodes[index].knockd.lines();
    let warnings = lines.iter().filter(|line| line.text.contains(WARNING));
    warnings.count()
}
