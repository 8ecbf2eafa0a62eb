//! Servers and certificates that are not used.

use std::time::Duration;

use knock_tests::{
    certificates::{Authority, Validity},
    netns::Namespace,
};
use knockd_ipc::fleet::Outcome;

use super::{
    can_run,
    node::{Node, engine, with_identity},
    with_stream,
};

#[test]
fn only_the_right_certificates_are_accepted() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = with_stream::<1>(&namespace, &folder);
    let right = || engine(&cluster, "edge1");
    let reason = |engine| Node::with(&namespace, engine, Duration::from_secs(1)).lost();

    let mut other_name = right();
    other_name.server_name = "other.example".into();
    let text = reason(other_name);
    assert!(text.contains("certificate not valid for name"), "{text}");

    let other = tempfile::tempdir().unwrap();
    let other = Authority::new(other.path()).unwrap();
    let other = other.issue(&["edge1.example"], Validity::Valid).unwrap();
    let mut other_authority = right();
    other_authority.authorities = with_identity(&cluster, "edge1", &other).authorities;
    let text = reason(other_authority);
    assert!(text.contains("UnknownIssuer"), "{text}");

    // The servers do not accept these.
    let mut foreign = with_identity(&cluster, "edge1", &other);
    foreign.authorities = right().authorities;
    let expired = cluster
        .authority
        .issue(&["edge1.example"], Validity::Expired);
    let expired = with_identity(&cluster, "edge1", &expired.unwrap());
    let unknown = engine(&cluster, "edge9");
    for engine in [foreign, expired, unknown] {
        let text = reason(engine);
        println!("{text}");
        assert!(
            text.contains("cannot use the server at 127.0.0.1:4222: "),
            "{text}"
        );
    }
}

#[test]
fn a_claim_is_given_up_when_its_patience_is_over() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = with_stream::<1>(&namespace, &folder);
    let node = Node::with(
        &namespace,
        engine(&cluster, "edge1"),
        Duration::from_millis(500),
    );
    node.current();
    cluster.stop(0).unwrap();
    node.claim(1, 1);
    let Outcome::Unknown { reason } = node.outcome(1) else {
        panic!("a server that is stopped has answered");
    };
    println!("{reason}");
    node.lost();
    cluster.cont(0).unwrap();
    node.current();
    node.claim(2, 2);
    assert_eq!(node.outcome(2), Outcome::Created);
    cluster.kill(0).unwrap();
    node.lost();
    node.claim(3, 3);
    assert!(matches!(node.outcome(3), Outcome::Unknown { .. }));
}
