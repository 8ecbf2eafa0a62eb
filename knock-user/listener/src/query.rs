//! The Unix socket through which people watch the running daemon and move its doors.
//!
//! A client sends one line of fields with tabs between them. The answer is one line of JSON:
//!
//! | request | answer |
//! |---|---|
//! | `status` | [`Status`] |
//! | `leases` | an array of [`DoorStatus`] |
//! | `open`, address, door, and perhaps seconds | [`CommandReply`](knockd_types::control::CommandReply) |
//! | `close`, address, and perhaps a door | [`CommandReply`](knockd_types::control::CommandReply) |
//! | `reload` | [`CommandReply`](knockd_types::control::CommandReply), of no doors |
//! | `tail` | a line for every notice ([`Notice`](knockd_types::event::Notice)) until either side ends it |
//! | `verdicts` | the same without the kernel's lines, which then are not even written |
//!
//! Whoever may connect may ask for `status`, `tail` and `verdicts`; the others are for root and
//! for the user that the daemon runs as.

use knockd_types::{
    control::{CloseRequest, OpenRequest},
    status::{DoorStatus, Status},
};
use tokio::sync::oneshot;

use crate::{metrics::snapshot::Snapshot, tails::Tail};

/// What the socket, or the HTTP server of [`metrics`], asks of the daemon's loop.
#[derive(Debug)]
pub(crate) enum Query {
    /// How is it going?
    Status(oneshot::Sender<Status>),
    /// What is there to be measured?
    Metrics(oneshot::Sender<Snapshot>),
    /// Somebody follows from now on: his notices, and what the daemon listens to.
    Tail(oneshot::Sender<(Tail, String)>),
    /// Somebody has stopped following.
    TailEnded,
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<Vec<String>, String>>),
    /// Like a tail, for somebody who has no use for the kernel's line for every SYN. Nobody
    /// needs to know when he stops.
    Verdicts(oneshot::Sender<(Tail, String)>),
    /// Which doors are open?
    Leases(oneshot::Sender<Vec<DoorStatus>>),
    /// Open a door.
    Open(OpenRequest, oneshot::Sender<Result<Vec<String>, String>>),
    /// Close doors.
    Close(CloseRequest, oneshot::Sender<Result<Vec<String>, String>>),
}
