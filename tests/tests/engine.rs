//! The fleet process against real servers of NATS.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use knock_tests::{
    nats::{self, Cluster, Seat},
    netns::Namespace,
    privilege,
};

#[test]
fn servers_start() {
    if !privilege::namespaces() || !nats::is_installed() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let seats = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|address| Seat {
        namespace: &namespace,
        address: address.parse().unwrap(),
    });
    let started = std::time::Instant::now();
    let cluster = Cluster::start(folder.path(), &seats).unwrap();
    println!("{:?}", started.elapsed());
    drop(cluster);
}
