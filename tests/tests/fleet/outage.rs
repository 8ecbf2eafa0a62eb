//! What nodes do while no server of the engine is reached, and what is left afterwards.

use std::{fs, net::Ipv4Addr, time::Duration};

use knock_common::protocol::datagram::Beneficiary;

use super::{
    needs_fleet,
    net::{NODES, Net},
    stage::Stage,
};

/// What the log says of a knock that two nodes have carried out.
const CONFLICT: &str = "had accepted a knock that has opened door \"ssh\"";

#[test]
fn a_node_that_may_opens_alone_and_claims_it_afterwards() {
    needs_fleet!();
    let net = Net::new().unwrap();
    let choices = ["bound", "local", "refuse"];
    let extra = choices.map(|choice| format!("when_unreachable = \"{choice}\""));
    let mut stage = Stage::with_each(&net, [&extra[0], &extra[1], &extra[2]]).unwrap();
    for index in 0..NODES {
        net.link_node(index, false).unwrap();
    }
    for index in 0..NODES {
        stage.wait_lost(index).unwrap();
    }
    let unbound = || {
        Stage::changed(|request| {
            request.beneficiary = Beneficiary::Sender;
            Ok(())
        })
        .unwrap()
    };
    let unreachable = ["refused", "reason=unreachable"];
    stage.send_to(0, &unbound()).unwrap();
    stage.logged(0, &unreachable).unwrap();
    stage.send_to(1, &unbound()).unwrap();
    stage.wait_open(1, true).unwrap();
    assert!(stage.open(0).unwrap().is_empty());
    // A node that starts without the engine refuses too.
    stage.kill(2).unwrap();
    stage.start_again(2).unwrap();
    let bound = Stage::datagram().unwrap();
    for index in 0..NODES {
        stage.send_to(index, &bound).unwrap();
    }
    stage.wait_open(0, true).unwrap();
    stage.logged(2, &unreachable).unwrap();
    assert!(stage.open(2).unwrap().is_empty());
    for (index, unclaimed) in [(0, 1), (1, 2), (2, 0)] {
        let as_expected = |fleet: &serde_json::Value| fleet["unclaimed"] == unclaimed;
        stage
            .wait(index, "what is not claimed", as_expected)
            .unwrap();
    }
    for index in 0..NODES {
        net.link_node(index, true).unwrap();
    }
    stage.wait_open_everywhere(true).unwrap();
    for index in 0..NODES {
        let claimed = |fleet: &serde_json::Value| fleet["unclaimed"] == 0;
        stage.wait(index, "claims", claimed).unwrap();
    }
    let lines = (0..NODES).flat_map(|index| stage.nodes[index].knockd.lines());
    let conflicts = lines.filter(|line| line.text.contains(CONFLICT));
    assert_eq!(conflicts.count(), 1);
}

#[test]
fn what_was_claimed_outlasts_a_power_cut_of_all_servers() {
    const CLAIMS: usize = 30;
    needs_fleet!();
    let net = Net::new().unwrap();
    // Servers that have just started choose a leader within that.
    let mut stage = Stage::with(&net, "patience = \"30s\"").unwrap();
    for host in 1..=CLAIMS {
        let address = Ipv4Addr::new(10, 20, 0, host.try_into().unwrap());
        let hour = Duration::from_hours(1);
        stage.open_for(host % NODES, address, hour).unwrap();
    }
    let opened = |stage: &Stage<'_>, index| {
        let live = |fleet: &serde_json::Value| fleet["waiting"] == 0;
        stage.wait(index, "claims", live).unwrap();
        stage.wait_count(index, CLAIMS).unwrap();
    };
    (0..NODES).for_each(|index| opened(&stage, index));
    stage.cluster.cut_power().unwrap();
    (0..NODES).for_each(|index| stage.wait_lost(index).unwrap());
    // A node that starts now has its own doors, and no others.
    stage.kill(0).unwrap();
    stage.start_again(0).unwrap();
    stage.wait_count(0, CLAIMS).unwrap();
    stage.kill(1).unwrap();
    fs::remove_dir_all(stage.nodes[1].files.path("state")).unwrap();
    stage.start_again(1).unwrap();
    assert!(stage.open(1).unwrap().is_empty());
    for index in 0..NODES {
        stage.cluster.start_again(index).unwrap();
    }
    stage.cluster.wait_until_ready().unwrap();
    opened(&stage, 1);
    stage.wait_connected(0).unwrap();
    stage.send_to(0, &Stage::datagram().unwrap()).unwrap();
    stage.wait_open_everywhere(true).unwrap();
}
