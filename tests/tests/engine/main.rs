//! The fleet process against real servers of NATS.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod faults;
mod node;
mod one_server;
mod permissions;
mod refusals;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod taken_over;

use std::time::Duration;

use knock_tests::{
    nats::{self, Cluster, Seat},
    netns::Namespace,
    privilege,
};

/// A time in which everything happens, also on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// How long the stream keeps a claim.
const MAX_AGE: Duration = Duration::from_hours(25);

/// Whether this machine can run these tests.
fn can_run() -> bool {
    privilege::namespaces() && nats::is_installed()
}

/// `COUNT` servers with a stream of as many copies.
fn with_stream<'n, const COUNT: usize>(
    namespace: &'n Namespace,
    folder: &tempfile::TempDir,
) -> Cluster<'n> {
    let cluster = start::<COUNT>(namespace, folder);
    let made = node::init(namespace, &cluster, COUNT, None).unwrap();
    assert!(made.contains("KNOCK_CLAIMS was made"), "{made}");
    cluster
}

/// `COUNT` servers.
fn start<'n, const COUNT: usize>(
    namespace: &'n Namespace,
    folder: &tempfile::TempDir,
) -> Cluster<'n> {
    let seat = |number| Seat {
        namespace,
        address: format!("127.0.0.{number}").parse().unwrap(),
    };
    let seats: Vec<_> = (1..=COUNT).map(seat).collect();
    Cluster::start(folder.path(), &seats).unwrap()
}
