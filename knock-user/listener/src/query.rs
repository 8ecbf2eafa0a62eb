//! Queries of the control socket and the metrics exporter to the event loop.

use knockd_ipc::metrics::Snapshot;
use knockd_types::{
    control::{CloseRequest, OpenRequest},
    status::{DoorStatus, FleetLease, Status},
};
use tokio::sync::oneshot;

use crate::{pending::Outcome, tails::Tail};

/// One query, with the channel for its answer.
#[derive(Debug)]
pub(crate) enum Query {
    /// The state of the daemon.
    Status(oneshot::Sender<Status>),
    /// The state of the daemon, as metrics.
    Metrics(oneshot::Sender<Snapshot>),
    /// A subscription to all notices, with a description of the interfaces or lines.
    Tail(oneshot::Sender<(Tail, String)>),
    /// A subscriber has left.
    TailEnded,
    /// A subscription without the kernel's log lines, which stay off. It ends without
    /// [`Self::TailEnded`].
    Verdicts(oneshot::Sender<(Tail, String)>),
    /// The open doors.
    Leases(oneshot::Sender<Vec<DoorStatus>>),
    /// Open a door.
    Open(OpenRequest, oneshot::Sender<Outcome>),
    /// Close doors.
    Close(CloseRequest, oneshot::Sender<Outcome>),
    /// Close doors on every node of the fleet, and answer when they have read it.
    FleetClose(CloseRequest, oneshot::Sender<Outcome>),
    /// Revoke the key of the client of this name on every node of the fleet.
    FleetRevoke(String, oneshot::Sender<Outcome>),
    /// The doors that the fleet has opened, or that there is no fleet.
    FleetLeases(oneshot::Sender<Vec<FleetLease>>),
    /// Reload the configuration.
    Reload(oneshot::Sender<Outcome>),
}
