//! A fleet: three nodes behind one address, with real servers of NATS.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod balancer;
mod faults;
mod figures;
mod hostile;
mod node;
mod outage;

use std::time::Duration;

use knock_tests::{
    fleet::{files, net, stage},
    nats,
    service::try_connect,
};

use self::{
    net::{CLIENT, NODES, Net, Policy},
    stage::Stage,
};

/// How soon after a knock a connection has to be admitted at any node.
const SOON_AFTER: Duration = Duration::from_millis(50);

/// Ends a test with a message if it lacks what it needs.
macro_rules! needs_fleet {
    () => {
        knock_tests::needs_bpf!();
        if !crate::nats::is_installed() {
            return;
        }
    };
}
use needs_fleet;

#[test]
fn a_knock_at_one_node_opens_the_door_of_every_node() {
    needs_fleet!();
    let net = Net::new().unwrap();
    let stage = Stage::new(&net).unwrap();
    assert_figures(&stage, 5);
}

/// Knocks `count` times in each way, and connects after each knock at whichever node. Returns how
/// often it was admitted.
fn assert_figures(stage: &Stage<'_>, count: usize) -> Vec<(Policy, usize)> {
    let mut figures = Vec::new();
    for (policy, options) in [(Policy::Ports, &["--udp"][..]), (Policy::Source, &[])] {
        stage.net.choose_by(policy).unwrap();
        let mut admitted = 0;
        for _ in 0..count {
            let output = stage.knock(options).unwrap();
            assert!(output.status.success(), "{output:?}");
            std::thread::sleep(SOON_AFTER);
            let patience = Duration::from_millis(900);
            let connected =
                try_connect(&stage.net.client, Some(CLIENT.into()), Net::ssh(), patience);
            admitted += usize::from(connected.is_ok());
            stage.wait_open_everywhere(true).unwrap();
            let close = [options, &["--close"]].concat();
            let output = stage.knock(&close).unwrap();
            assert!(output.status.success(), "{output:?}");
            stage.wait_open_everywhere(false).unwrap();
        }
        println!(
            "{policy:?}: {admitted} of {count} connections were admitted {SOON_AFTER:?} after the knock"
        );
        // A busy machine may take longer; every door was open in the end.
        assert!(admitted > 0, "no connection was admitted");
        figures.push((policy, admitted));
    }
    for index in 0..NODES {
        assert_eq!(stage.counter(index, "refused_unreachable").unwrap(), 0);
    }
    figures
}
