//! A node with which something is wrong.

use std::{fs, net::Ipv4Addr, time::Duration};

use knock_common::protocol::{datagram::Beneficiary, lease::RequestedLease};
use knock_tests::{certificates::Validity, clock::Clock};

use super::{
    files::write,
    needs_fleet,
    net::{Net, uplink_address},
    stage::Stage,
};

#[test]
fn a_node_whose_certificate_has_expired_says_so_and_the_others_go_on() {
    needs_fleet!();
    let net = Net::new().unwrap();
    let mut stage = Stage::new(&net).unwrap();
    let replace = |stage: &mut Stage<'_>, validity| {
        let authority = &stage.cluster.authority;
        let identity = authority.issue(&["edge3.example"], validity).unwrap();
        for (from, to) in [
            (identity.certificate, "node.pem"),
            (identity.key, "node.key"),
        ] {
            write(&stage.nodes[2].files, to, &fs::read(from).unwrap()).unwrap();
        }
        stage.kill(2).unwrap();
        stage.start_again(2).unwrap();
    };
    replace(&mut stage, Validity::Expired);
    let reason = stage.logged(2, &["engine is not reached"]).unwrap();
    assert!(reason.to_lowercase().contains("certificate"), "{reason}");
    stage.send_to(2, &Stage::datagram().unwrap()).unwrap();
    stage.logged(2, &["refused", "reason=unreachable"]).unwrap();
    stage.send_to(0, &Stage::datagram().unwrap()).unwrap();
    for index in 0..2 {
        stage.wait_open(index, true).unwrap();
    }
    assert!(stage.open(2).unwrap().is_empty());
    replace(&mut stage, Validity::Valid);
    stage.wait_open(2, true).unwrap();
}

#[test]
fn claims_of_a_node_whose_clock_is_ahead_count_up_to_max_skew() {
    needs_fleet!();
    let net = Net::new().unwrap();
    let mut stage = Stage::new(&net).unwrap();
    stage.kill(2).unwrap();
    let clock = Clock::new(&net.nodes[2], &stage.nodes[2].files).unwrap();
    let hosts = [1, 2].map(|host| Ipv4Addr::new(10, 20, 0, host));
    for ((ahead, counts), host) in [(30, true), (120, false)].into_iter().zip(hosts) {
        clock.set(ahead).unwrap();
        stage.restart(2).unwrap();
        // The client's clock is that of the node: other nodes would call the knock stale.
        let datagram = Stage::changed(|request| {
            request.unix_ms += u64::try_from(ahead).unwrap() * 1000;
            request.beneficiary = Beneficiary::Bound(host.into());
            request.lease = RequestedLease::of(Duration::from_hours(1))?;
            Ok(())
        });
        stage
            .send_from(host, uplink_address(2), &datagram.unwrap())
            .unwrap();
        stage.wait_for(2, host, true).unwrap();
        for index in 0..2 {
            if counts {
                stage.wait_for(index, host, true).unwrap();
                continue;
            }
            // A later claim is read after it.
            let witness = Ipv4Addr::new(10, 20, 1, index.try_into().unwrap());
            let hour = Duration::from_hours(1);
            stage.open_for(index, witness, hour).unwrap();
            stage.wait_for(index, witness, true).unwrap();
            let open = stage.open(index).unwrap();
            assert!(!open.contains(&host.to_string()), "{open:?}");
        }
        stage.kill(2).unwrap();
    }
    for index in 0..2 {
        stage.logged(index, &["s in the future"]).unwrap();
    }
}
