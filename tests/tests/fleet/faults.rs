//! What attackers and failures do to a fleet.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use knock_tests::scene::SOON;

use super::{
    needs_fleet,
    net::{CLIENT, NODES, Net, Policy, uplink_address},
    stage::Stage,
};

#[test]
fn a_knock_that_is_replayed_at_every_node_opens_once() {
    needs_fleet!();
    let net = Net::new().unwrap();
    let mut stage = Stage::new(&net).unwrap();
    let datagrams: Vec<_> = (0..20).map(|_| Stage::datagram().unwrap()).collect();
    // At every node at once, as far as one sender can.
    for datagram in &datagrams {
        for index in 0..NODES {
            net.route_to(index).unwrap();
            stage.send(datagram).unwrap();
        }
    }
    stage.wait_open_everywhere(true).unwrap();
    let settled = Instant::now() + Duration::from_secs(60);
    let total = |stage: &Stage<'_>, name| -> u64 {
        (0..NODES)
            .map(|index| stage.counter(index, name).unwrap())
            .sum()
    };
    while total(&stage, "accepted") + total(&stage, "refused_replayed") < 60 {
        assert!(Instant::now() < settled, "some knocks have no outcome");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(total(&stage, "accepted"), 20);
    // Nor does any open again after the engine and the nodes were killed.
    stage.cluster.kill(stage.leader().unwrap()).unwrap();
    for index in 0..NODES {
        stage.kill(index).unwrap();
        stage.restart(index).unwrap();
        net.route_to(index).unwrap();
        stage.send(&datagrams[0]).unwrap();
        stage.logged(index, &["refused", "reason=re"]).unwrap();
    }
    assert_eq!(total(&stage, "accepted"), 0);
}

#[test]
fn without_the_engine_nothing_opens_and_afterwards_everything_goes_on() {
    needs_fleet!();
    let net = Net::new().unwrap();
    let stage = Stage::new(&net).unwrap();
    net.choose_by(Policy::Ports).unwrap();
    net.route_to(0).unwrap();
    net.link_node(0, false).unwrap();
    stage.wait_lost(0).unwrap();
    stage.send(&Stage::datagram().unwrap()).unwrap();
    stage.logged(0, &["refused", "reason=unreachable"]).unwrap();
    assert!(stage.open(0).unwrap().is_empty());
    let healed = Instant::now();
    net.link_node(0, true).unwrap();
    stage.wait_connected(0).unwrap();
    println!(
        "connected {:?} after the link was up again",
        healed.elapsed()
    );
    stage.send(&Stage::datagram().unwrap()).unwrap();
    stage.wait_open_everywhere(true).unwrap();
}

#[test]
fn knocks_go_on_after_the_leader_is_killed_stopped_or_cut_off() {
    needs_fleet!();
    let net = Net::new().unwrap();
    let mut stage = Stage::new(&net).unwrap();
    net.choose_by(Policy::Ports).unwrap();
    // A node that starts meanwhile gets its doors from the servers that are left.
    let leader = stage.leader().unwrap();
    stage.cluster.kill(leader).unwrap();
    stage.kill(0).unwrap();
    stage.start_again(0).unwrap();
    println!("killed: {:?}", verified(&stage));
    stage.cluster.start_again(leader).unwrap();
    stage.cluster.wait_until_ready().unwrap();
    let leader = stage.leader().unwrap();
    stage.cluster.stop(leader).unwrap();
    stage.kill(1).unwrap();
    stage.start_again(1).unwrap();
    println!("stopped: {:?}", verified(&stage));
    stage.cluster.cont(leader).unwrap();
    stage.cluster.wait_until_ready().unwrap();
    let leader = stage.leader().unwrap();
    net.link_server(leader, false).unwrap();
    stage.kill(2).unwrap();
    stage.start_again(2).unwrap();
    println!("cut off: {:?}", verified(&stage));
    net.link_server(leader, true).unwrap();
}

#[test]
fn a_slow_engine_lets_each_knock_in_once() {
    const KNOCKS: u8 = 20;
    /// Shorter than a claim is tried before it is tried again, and longer.
    const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(800)];
    needs_fleet!();
    let net = Net::new().unwrap();
    let mut stage = Stage::with(&net, "patience = \"30s\"").unwrap();
    for (host, pause) in (1..=KNOCKS).zip(PAUSES.into_iter().cycle()) {
        let source = Ipv4Addr::new(10, 20, 0, host);
        let datagram = Stage::datagram_for(source, Duration::from_hours(1)).unwrap();
        for index in 0..NODES {
            stage.cluster.stop(index).unwrap();
        }
        for index in 0..NODES {
            let node = uplink_address(index);
            stage.send_from(source, node, &datagram).unwrap();
        }
        thread::sleep(pause);
        for index in 0..NODES {
            stage.cluster.cont(index).unwrap();
        }
        // It catches up for a moment.
        thread::sleep(pause / 4);
    }
    let count = |name: &str| -> u64 {
        let counts = (0..NODES).map(|index| stage.counter(index, name).unwrap());
        counts.sum()
    };
    for index in 0..NODES {
        stage.wait_count(index, KNOCKS.into()).unwrap();
        stage
            .wait(index, "outcomes", |fleet| fleet["waiting"] == 0)
            .unwrap();
    }
    assert_eq!(count("accepted"), u64::from(KNOCKS));
    assert_eq!(count("refused_replayed"), 2 * u64::from(KNOCKS));
}

#[test]
fn knocks_go_on_while_one_server_after_the_other_is_upgraded() {
    needs_fleet!();
    let net = Net::new().unwrap();
    // A knock that closes is sent once, perhaps while a node connects to another server.
    let mut stage = Stage::with(&net, "patience = \"10s\"").unwrap();
    net.choose_by(Policy::Ports).unwrap();
    for index in 0..NODES {
        stage.cluster.retire(index).unwrap();
        println!("retired: {:?}", verified(&stage));
        stage.cluster.kill(index).unwrap();
        println!("ended: {:?}", verified(&stage));
        stage.cluster.start_again(index).unwrap();
        stage.cluster.wait_until_ready().unwrap();
    }
    println!("again: {:?}", verified(&stage));
}

/// How long it takes until a knock opens the door everywhere, and another one closes it.
fn verified(stage: &Stage<'_>) -> Duration {
    let begun = Instant::now();
    // On a busy machine a leader is chosen later than `--verify` knocks.
    while !knocked(stage, &["--udp", "--verify", "tcp/22"]) {
        assert!(begun.elapsed() < SOON, "no leader is chosen");
    }
    stage.wait_open_everywhere(true).unwrap();
    assert!(knocked(stage, &["--udp", "--close"]));
    stage.wait_open_everywhere(false).unwrap();
    begun.elapsed()
}

fn knocked(stage: &Stage<'_>, options: &[&str]) -> bool {
    stage.knock(options).unwrap().status.success()
}

#[test]
fn what_one_node_closes_and_revokes_is_closed_everywhere() {
    needs_fleet!();
    let net = Net::new().unwrap();
    let mut stage = Stage::new(&net).unwrap();
    let client = CLIENT.to_string();
    let command = |stage: &Stage<'_>, index, arguments: &[&str]| {
        let output = stage.knockd(index, arguments).unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for arguments in [&["fleet", "close", &client, "ssh"][..], &["close", &client]] {
        stage.send(&Stage::datagram().unwrap()).unwrap();
        stage.wait_open_everywhere(true).unwrap();
        assert!(command(&stage, 1, &["fleet", "leases"]).contains(&client));
        command(&stage, 2, arguments);
        stage.wait_open_everywhere(false).unwrap();
        // It stays closed.
        stage.kill(0).unwrap();
        stage.restart(0).unwrap();
        assert!(stage.open(0).unwrap().is_empty());
    }
    stage.send(&Stage::datagram().unwrap()).unwrap();
    stage.wait_open_everywhere(true).unwrap();
    // A node that was away has the same doors after its start, and no others.
    stage.kill(0).unwrap();
    stage.restart(0).unwrap();
    stage.wait_open(0, true).unwrap();
    command(&stage, 1, &["fleet", "revoke", "laptop"]);
    stage.wait_open_everywhere(false).unwrap();
    for index in 0..NODES {
        net.route_to(index).unwrap();
        stage.send(&Stage::datagram().unwrap()).unwrap();
        stage.logged(index, &["refused", "reason=revoked"]).unwrap();
    }
    stage
        .wait(0, "every node", |fleet| {
            fleet["nodes"]
                .as_array()
                .is_some_and(|nodes| nodes.len() == NODES)
        })
        .unwrap();
    let shown = command(&stage, 0, &["fleet", "status"]);
    assert!(
        shown.contains("the key of client laptop is revoked"),
        "{shown}"
    );
    for node in ["edge1", "edge2", "edge3"] {
        assert!(shown.contains(node), "{shown}");
    }
}
